/* Recovery of one partition: cutting what does not count, and keeping it; writing anew after a failed fsync. */
#include "log/recover_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { COPY_BYTES = 1 << 20 };

static bool all_zero(const uint8_t *data, size_t bytes)
{
    return bytes == 0 || (data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0);
}

/* Copies [foff, end) of a file to NAME, unless it is only zeros (space that was never written). */
static int save(struct tlog_recovering *s, int fd, uint64_t foff, uint64_t end, const char *name)
{
    char path[TLOG_NAME_BYTES], part[64];
    uint8_t *data = malloc(COPY_BYTES);
    int out = -1, r = data ? 0 : -ENOMEM;
    uint64_t at = 0;
    for (unsigned n = 0; r == 0 && out < 0 && n < 1000; n++) { /* never over an earlier one */
        snprintf(part, sizeof part, n ? "%s.%u" : "%s", name, n);
        snprintf(path, sizeof path, "%.4000s/%s", s->dir, part);
        out = s->io->open(s->io, path, TLOG_IO_WRITE | TLOG_IO_CREATE | TLOG_IO_EXCL);
        if (out < 0 && out != -EEXIST)
            r = out;
    }
    bool zeros = true;
    for (; r == 0 && foff < end;) {
        ssize_t n = s->io->pread(s->io, fd, data, end - foff < COPY_BYTES ? end - foff : COPY_BYTES, foff);
        if (n <= 0) {
            r = n < 0 ? (int)n : -EIO;
            break;
        }
        struct iovec piece = {data, (size_t)n};
        zeros = zeros && all_zero(data, (size_t)n);
        r = s->io->pwritev(s->io, out, &piece, 1, at);
        foff += (size_t)n;
        at += (size_t)n;
    }
    if (r == 0 && !zeros)
        r = s->io->sync(s->io, out);
    if (out >= 0)
        s->io->close(s->io, out);
    if (out >= 0 && (r < 0 || zeros))
        s->io->unlink(s->io, path);
    if (r == 0 && !zeros)
        r = s->io->sync_dir(s->io, s->dir);
    free(data);
    if (r == 0 && !zeros) {
        s->p->ground->recovery.cut_bytes += at;
        s->p->ground->recovery.cut_files++;
        tlog_ground_note(s->p->ground, "%s/%u: %" PRIu64 " bytes past the last whole record were cut and kept in %s",
                         s->p->topic->name, s->p->number, at, part);
    }
    return r;
}

int tlog_recover_drop_segments(struct tlog_recovering *s, unsigned from)
{
    int r = 0;
    bool dropped = s->p->segment_count > from;
    while (r == 0 && s->p->segment_count > from) {
        unsigned last = s->p->segment_count - 1;
        uint64_t pos = s->p->segments[last].pos;
        char path[TLOG_NAME_BYTES], name[64];
        tlog_recover_close_segment(s, last);
        tlog_recover_file_name(s, pos, ".log", path);
        int fd = s->io->open(s->io, path, TLOG_IO_READ);
        struct tlog_io_stat st = {0};
        if (fd < 0 && fd != -ENOENT)
            return fd;
        if (fd >= 0) {
            snprintf(name, sizeof name, "%020" PRIu64 ".cut", pos);
            r = s->io->stat(s->io, fd, &st);
            if (r == 0 && st.size_bytes > 0)
                r = save(s, fd, 0, st.size_bytes, name);
            s->io->close(s->io, fd);
        }
        if (r == 0)
            r = s->io->unlink(s->io, path);
        tlog_recover_file_name(s, pos, ".idx", path);
        if (r == 0 || r == -ENOENT)
            r = s->io->unlink(s->io, path);
        if (r == -ENOENT)
            r = 0;
        s->p->segment_count--;
        s->changed = true;
    }
    /* The log may go on in the segment before: a power cut must not bring these back. */
    return r == 0 && dropped ? s->io->sync_dir(s->io, s->dir) : r;
}

int tlog_recover_cut(struct tlog_recovering *s)
{
    struct tlog_handle *handle;
    struct tlog_io_stat log, idx;
    char name[64];
    uint64_t foff = s->at.pos - tlog_active(s->p)->pos;
    int r = tlog_active_open(s->p, &handle);
    if (r == 0)
        r = s->io->stat(s->io, handle->log_fd, &log);
    if (r == 0)
        r = s->io->stat(s->io, handle->idx_fd, &idx);
    snprintf(name, sizeof name, "%020" PRIu64 ".cut", s->at.pos);
    if (r == 0 && log.size_bytes > foff) {
        r = save(s, handle->log_fd, foff, log.size_bytes, name);
        if (r == 0)
            r = s->io->truncate(s->io, handle->log_fd, foff);
        s->changed = true;
    }
    if (r == 0 && idx.size_bytes != s->idx_bytes) {
        r = s->io->truncate(s->io, handle->idx_fd, s->idx_bytes);
        s->changed = true;
    }
    s->p->log_inode = log.inode;
    s->p->idx_inode = idx.inode;
    return r;
}

static int rewrite_file(struct tlog_recovering *s, uint64_t pos, const char *suffix)
{
    char from[TLOG_NAME_BYTES], to[TLOG_NAME_BYTES], new_suffix[16];
    snprintf(new_suffix, sizeof new_suffix, "%s.new", suffix);
    tlog_recover_file_name(s, pos, suffix, from);
    tlog_recover_file_name(s, pos, new_suffix, to);
    uint8_t *data = malloc(COPY_BYTES);
    int in = s->io->open(s->io, from, TLOG_IO_READ);
    int out = in < 0 ? in : s->io->open(s->io, to, TLOG_IO_WRITE | TLOG_IO_CREATE | TLOG_IO_TRUNCATE);
    int r = !data ? -ENOMEM : out < 0 ? out : 0;
    for (uint64_t foff = 0; r == 0;) {
        ssize_t n = s->io->pread(s->io, in, data, COPY_BYTES, foff);
        if (n <= 0) {
            r = (int)n;
            break;
        }
        struct iovec piece = {data, (size_t)n};
        r = s->io->pwritev(s->io, out, &piece, 1, foff);
        foff += (size_t)n;
    }
    if (r == 0)
        r = s->io->sync(s->io, out);
    if (in >= 0)
        s->io->close(s->io, in);
    if (out >= 0)
        s->io->close(s->io, out);
    free(data);
    if (r == 0)
        r = s->io->rename(s->io, to, from);
    return r;
}

/* Writes what was not known durable into fresh files. */
int tlog_recover_rewrite(struct tlog_recovering *s, uint64_t synced)
{
    char marker[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    int r = 0;
    unsigned i = tlog_segment_find(s->p, synced > s->p->segments[0].pos ? synced : s->p->segments[0].pos);
    for (; r == 0 && i < s->p->segment_count; i++) {
        if (s->p->segments[i].forms & TLOG_SEALED) /* was synced before it was sealed */
            continue;
        tlog_recover_close_segment(s, i);
        r = rewrite_file(s, s->p->segments[i].pos, ".log");
        if (r == 0)
            r = rewrite_file(s, s->p->segments[i].pos, ".idx");
        s->p->ground->recovery.rewritten_files += 2;
    }
    if (r == 0)
        r = s->io->sync_dir(s->io, s->dir);
    struct tlog_handle *handle;
    if (r == 0)
        r = tlog_active_open(s->p, &handle);
    if (r == 0)
        r = s->io->stat(s->io, handle->log_fd, &st);
    if (r == 0) {
        s->p->log_inode = st.inode;
        r = s->io->stat(s->io, handle->idx_fd, &st);
        s->p->idx_inode = st.inode;
    }
    snprintf(marker, sizeof marker, "%.4000s/failed", s->dir);
    if (r == 0 && s->failed_marker)
        r = s->io->unlink(s->io, marker);
    if (r == 0)
        r = s->io->sync_dir(s->io, s->dir);
    if (r == 0)
        tlog_recover_note(s, "after a failed fsync everything from", synced,
                          " on was written to fresh files and synced");
    return r;
}
