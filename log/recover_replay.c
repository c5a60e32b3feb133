/* Recovery of one partition: putting in what the journal holds, appends and unfinished lines. */
#include "log/recover_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/sealed.h"

/* Makes a segment begin at s->at. */
static int roll(struct tlog_recovering *s)
{
    struct tlog_handle *handle;
    int r = tlog_active_open(s->p, &handle);
    if (r == 0)
        r = s->io->truncate(s->io, handle->log_fd, s->at.pos - tlog_active(s->p)->pos);
    if (r == 0)
        r = s->io->truncate(s->io, handle->idx_fd, s->idx_bytes);
    if (r < 0)
        return r;
    s->p->closed = s->at;
    r = tlog_segment_make(s->p);
    s->idx_bytes = TLOG_INDEX_HEADER_BYTES;
    s->segment = s->p->segment_count - 1;
    return r;
}

static int replay_entry(struct tlog_recovering *s, const struct tlog_entry *entry, const uint8_t *data)
{
    struct tlog_handle *handle;
    uint8_t bytes[TLOG_ENTRY_BYTES];
    if (entry->pos + entry->length_bytes <= s->at.pos && (entry->length_bytes > 0 || entry->chain == s->at.chain))
        return 0;
    if (!tlog_entry_follows(entry, s->at.pos, s->at.seq, s->at.time_ns) ||
        tlog_entry_chain(entry, tlog_hash(data, entry->length_bytes, s->at.chain)) != entry->chain)
        return -EBADMSG;
    int r = tlog_recover_drop_segments(s, s->segment + 1);
    if (r == 0 && (entry->flags & TLOG_ENTRY_ROLL) && s->at.pos != tlog_active(s->p)->pos)
        r = roll(s);
    if (r == 0)
        r = tlog_active_open(s->p, &handle);
    if (r < 0)
        return r;
    struct iovec part = {(void *)(uintptr_t)data, entry->length_bytes};
    tlog_entry_encode(bytes, entry);
    struct iovec index = {bytes, sizeof bytes};
    r = entry->length_bytes > 0 ? s->io->pwritev(s->io, handle->log_fd, &part, 1, s->at.pos - tlog_active(s->p)->pos)
                                : 0;
    if (r == 0)
        r = s->io->pwritev(s->io, handle->idx_fd, &index, 1, s->idx_bytes);
    if (r < 0)
        return r;
    s->idx_bytes += TLOG_ENTRY_BYTES;
    s->at = tlog_point_after(entry);
    s->p->ground->recovery.replayed_bytes += entry->length_bytes;
    s->changed = true;
    return 0;
}

int tlog_recover_replay(struct tlog_recovering *s)
{
    size_t count;
    struct tlog_replayed *records = tlog_recover_records(s->recover, s->p, &count);
    for (size_t i = 0; i < count; i++) {
        struct tlog_replayed *record = &records[i];
        if (record->type != TLOG_JOURNAL_APPEND || record->body_bytes < 16)
            continue;
        uint64_t entries = tlog_get_u32(record->body + 8), data = 16 + entries * TLOG_ENTRY_BYTES;
        for (uint64_t k = 0; k < entries && data <= record->body_bytes; k++) {
            struct tlog_entry entry;
            tlog_entry_decode(&entry, record->body + 16 + k * TLOG_ENTRY_BYTES);
            if (entry.length_bytes > record->body_bytes - data)
                break;
            int r = replay_entry(s, &entry, record->body + data);
            data += entry.length_bytes;
            if (r == -EBADMSG) {
                tlog_recover_note(s, "the journal goes on at", entry.pos,
                                  ", past what the log holds: bytes are missing");
                s->p->damaged = true;
                return 0;
            }
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static bool ends(const struct tlog_entry *entry, const struct tlog_left_rest *rest)
{
    return entry->producer == rest->producer && entry->producer_seq == rest->producer_seq;
}

/* Whether an entry of segment i past `from` says that it ended this rest. */
static int ended_in_raw(struct tlog_partition *p, unsigned i, const struct tlog_left_rest *rest, uint64_t from)
{
    struct tlog_handle *handle;
    struct tlog_scan scan;
    int r = tlog_segment_open(p, i, &handle);
    if (r == 0)
        r = tlog_scan_open(&scan, p->ground->io, handle->log_fd, handle->idx_fd, p->segments[i].pos, NULL, NULL);
    if (r < 0)
        return r;
    (void)tlog_scan_seek(&scan, from);
    for (uint64_t n = (scan.idx_foff - TLOG_INDEX_HEADER_BYTES) / TLOG_ENTRY_BYTES; n < tlog_scan_entries(&scan); n++) {
        struct tlog_entry entry;
        r = tlog_scan_entry(&scan, n, &entry);
        if (r < 0)
            return r;
        if (ends(&entry, rest))
            return 1;
    }
    return 0;
}

/* The same in a sealed segment. */
static int ended_in_sealed(struct tlog_partition *p, unsigned i, const struct tlog_left_rest *rest, uint64_t from)
{
    char path[TLOG_NAME_BYTES], name[TLOG_NAME_BYTES + 8];
    struct tlog_sealed *sealed;
    tlog_segment_path(p, p->segments[i].pos, path);
    snprintf(name, sizeof name, "%s.zst", path);
    int fd = p->ground->io->open(p->ground->io, name, TLOG_IO_READ);
    int r = fd < 0 ? fd : tlog_sealed_open(&sealed, p->ground->io, fd, p->segments[i].pos, NULL, NULL);
    if (r < 0)
        return r;
    uint32_t group;
    bool found = false;
    r = tlog_sealed_find_group(sealed, TLOG_BY_POS, from, &group);
    for (; r == 0 && !found && group < sealed->groups; group++) {
        struct tlog_entry *entries = NULL;
        struct tlog_point before;
        size_t count = 0;
        r = tlog_sealed_group(sealed, group, &before, &entries, &count);
        for (size_t n = 0; r == 0 && !found && n < count; n++)
            found = ends(&entries[n], rest);
        free(entries);
    }
    tlog_sealed_free(sealed);
    return r < 0 ? r : found;
}

static int has_ended(struct tlog_partition *p, const struct tlog_left_rest *rest)
{
    const struct tlog_topic *topic = tlog_topic_of(p);
    if (p->number < topic->ends_count && rest->pos < topic->ends[p->number].pos)
        return 1;             /* in the partition of this number that was removed */
    if (rest->pos < p->start) /* a trim writes down anew those that have not ended, and then its start */
        return 1;
    uint64_t from = rest->pos;
    int r = 0;
    for (unsigned i = tlog_segment_find(p, from); r == 0 && i < p->segment_count; i++)
        r = p->segments[i].forms & TLOG_RAW ? ended_in_raw(p, i, rest, from) : ended_in_sealed(p, i, rest, from);
    return r;
}

int tlog_partition_end_rest(struct tlog_partition *p, const struct tlog_left_rest *rest)
{
    int r = tlog_partition_refuses(p);
    if (r < 0)
        return p->damaged ? 0 : r;
    r = has_ended(p, rest);
    if (r != 0)
        return r < 0 ? r : 0;
    struct iovec parts[] = {{rest->data, rest->bytes}, {(void *)(uintptr_t) "\n", 1}};
    struct tlog_append append = {.parts = parts,
                                 .count = 2,
                                 .bytes = rest->bytes + 1,
                                 .records = 1,
                                 .producer = rest->producer,
                                 .producer_seq = rest->producer_seq,
                                 .own_entry = true,
                                 .no_roll = true};
    r = tlog_append_locked(p, &append);
    if (r == 0)
        tlog_partition_needs(p, 1);
    return r < 0 ? r : 1;
}
