/* Recovery of one partition: indexing lines that have no index entry. */
#include "log/recover_state.h"

#include <errno.h>
#include <stdlib.h>

enum { NEW_ENTRY_BYTES = 1 << 20 };

/* Hashes log bytes [at, at + bytes) of segment i as the data of an entry. */
static int chain_of(struct tlog_recovering *s, int log_fd, uint64_t segment_pos, const struct tlog_entry *entry,
                    uint64_t *chain)
{
    uint8_t *data = malloc(entry->length_bytes + 1);
    if (!data)
        return -ENOMEM;
    ssize_t n = s->io->pread(s->io, log_fd, data, entry->length_bytes, entry->pos - segment_pos);
    if (n == (ssize_t)entry->length_bytes)
        *chain = tlog_entry_chain(entry, tlog_hash(data, entry->length_bytes, s->at.chain));
    free(data);
    return n < 0 ? (int)n : n == (ssize_t)entry->length_bytes ? 0 : -EIO;
}

/* Writes an entry behind s->idx_bytes and stands after it. */
static int add_entry(struct tlog_recovering *s, unsigned i, struct tlog_entry *entry)
{
    struct tlog_handle *handle;
    uint8_t bytes[TLOG_ENTRY_BYTES];
    int r = tlog_segment_open(s->p, i, &handle);
    if (r == 0)
        r = chain_of(s, handle->log_fd, s->p->segments[i].pos, entry, &entry->chain);
    if (r < 0)
        return r;
    tlog_entry_encode(bytes, entry);
    struct iovec part = {bytes, sizeof bytes};
    r = s->recover ? s->io->pwritev(s->io, handle->idx_fd, &part, 1, s->idx_bytes) : 0;
    if (r < 0)
        return r;
    s->idx_bytes += TLOG_ENTRY_BYTES;
    s->at = tlog_point_after(entry);
    return 0;
}

static uint32_t count_lines(const uint8_t *data, size_t bytes, size_t *whole)
{
    uint32_t lines = 0;
    *whole = 0;
    for (const uint8_t *newline; (newline = memchr(data + *whole, '\n', bytes - *whole)); lines++)
        *whole = (size_t)(newline + 1 - data);
    return lines;
}

/* In entries of about a MiB. */
int tlog_recover_index_lines(struct tlog_recovering *s, unsigned i, uint64_t limit)
{
    struct tlog_handle *handle;
    struct tlog_io_stat st;
    int r = tlog_segment_open(s->p, i, &handle);
    if (r == 0)
        r = s->io->stat(s->io, handle->log_fd, &st);
    size_t room = NEW_ENTRY_BYTES;
    uint8_t *data = NULL;
    while (r == 0) {
        uint64_t foff = s->at.pos - s->p->segments[i].pos;
        if (foff >= st.size_bytes || s->at.pos >= limit)
            break;
        size_t wanted = limit - s->at.pos < room ? (size_t)(limit - s->at.pos) : room;
        uint8_t *grown = realloc(data, room);
        if (!grown) {
            r = -ENOMEM;
            break;
        }
        data = grown;
        ssize_t n = s->io->pread(s->io, handle->log_fd, data, wanted, foff);
        size_t whole = 0;
        uint32_t lines = n > 0 ? count_lines(data, (size_t)n, &whole) : 0;
        if (n < 0)
            r = (int)n;
        else if (lines == 0 && (size_t)n < room)
            break;
        else if (lines == 0)
            room *= 2;
        if (r < 0 || lines == 0)
            continue;
        bool first = i > 0 && foff == 0;
        struct tlog_entry entry = {.pos = s->at.pos,
                                   .seq = s->at.seq,
                                   .length_bytes = (uint32_t)whole,
                                   .records = lines,
                                   .epoch = s->at.epoch,
                                   .leader = s->at.leader,
                                   .flags = first ? TLOG_ENTRY_ROLL : 0,
                                   .time_ns = st.mtime_ns > s->at.time_ns ? st.mtime_ns : s->at.time_ns};
        r = add_entry(s, i, &entry);
        s->p->ground->recovery.indexed_records += lines;
    }
    free(data);
    return r;
}

static int write_header(struct tlog_recovering *s, uint64_t pos, const struct tlog_point *at)
{
    char path[TLOG_NAME_BYTES];
    uint8_t bytes[TLOG_INDEX_HEADER_BYTES];
    struct tlog_index_header header = {.pos = pos, .seq = at->seq, .chain = at->chain, .time_ns = at->time_ns};
    memcpy(header.topic_id, s->p->topic->id, 16);
    tlog_index_header_encode(bytes, &header);
    tlog_recover_file_name(s, pos, ".idx", path);
    int fd = s->io->open(s->io, path, TLOG_IO_WRITE | TLOG_IO_CREATE | TLOG_IO_TRUNCATE);
    if (fd < 0)
        return fd;
    struct iovec part = {bytes, sizeof bytes};
    int r = s->io->pwritev(s->io, fd, &part, 1, 0);
    s->io->close(s->io, fd);
    return r;
}

int tlog_recover_index_anew(struct tlog_recovering *s, unsigned i, uint64_t limit)
{
    struct tlog_point at = {.chain = tlog_root_chain(s->p->topic->id, s->p->number)};
    if (i > 0) {
        int r = tlog_recover_end_of(s, i - 1, &at);
        if (r < 0)
            return r;
    }
    at.pos = s->p->segments[i].pos;
    int r = write_header(s, at.pos, &at);
    if (r < 0)
        return r;
    s->at = at;
    s->segment = i;
    s->idx_bytes = TLOG_INDEX_HEADER_BYTES;
    struct tlog_entry epoch = {.pos = at.pos,
                               .seq = at.seq,
                               .time_ns = at.time_ns,
                               .epoch = at.epoch + 1,
                               .leader = at.leader,
                               .flags = TLOG_ENTRY_EPOCH};
    r = add_entry(s, i, &epoch);
    if (r == 0)
        r = tlog_recover_index_lines(s, i, limit);
    /* The checkpoint calls its bytes synced: so must their index be. */
    struct tlog_handle *handle;
    if (r == 0)
        r = tlog_segment_open(s->p, i, &handle);
    if (r == 0)
        r = s->io->sync(s->io, handle->idx_fd);
    if (r == 0)
        r = s->io->sync_dir(s->io, s->dir);
    if (r < 0)
        return r;
    tlog_recover_note(s, "the index of segment", at.pos, " was lost; its lines were indexed anew");
    s->changed = true;
    return r;
}
