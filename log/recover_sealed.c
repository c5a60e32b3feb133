/* Recovery of one partition: its sealed segments.
 *
 * A sealed file is synced before it gets its name, and its raw files were synced before it was made: with that name
 * there it is whole, whatever crash came. What is not whole is of a copy that was cut short, or rot. So where the list
 * of segments is the one that the checkpoint knows, no sealed file is opened; elsewhere their two ends are read.
 *
 * Everything below a sealed segment was durable before it was sealed. So nothing up to the end of the last one can
 * have been torn by a crash: what is missing there is damage. */
#include "log/recover_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "log/error.h"
#include "log/sealed.h"

int tlog_recover_sealed(struct tlog_recovering *s, uint64_t pos, struct tlog_point *first, struct tlog_point *end,
                        struct tlog_error *error)
{
    char path[TLOG_NAME_BYTES];
    struct tlog_sealed *sealed;
    tlog_recover_file_name(s, pos, ".zst", path);
    int fd = s->io->open(s->io, path, TLOG_IO_READ);
    if (fd < 0)
        return fd;
    int r = tlog_sealed_open(&sealed, s->io, fd, pos, s->p->topic->id, error);
    if (r < 0)
        return r;
    if (first)
        *first = (struct tlog_point){
            sealed->header.pos, sealed->header.seq, sealed->header.chain, sealed->header.time_ns, 0, 0};
    if (end)
        *end = sealed->end;
    /* Whoever made a copy may not have waited for the disk. */
    if (s->recover && s->recover->copied)
        r = s->io->sync(s->io, sealed->fd);
    tlog_sealed_free(sealed);
    return r;
}

int tlog_recover_remove_raw(struct tlog_recovering *s, uint64_t pos)
{
    char path[TLOG_NAME_BYTES];
    tlog_recover_file_name(s, pos, ".idx", path);
    int r = s->io->unlink(s->io, path);
    tlog_recover_file_name(s, pos, ".log", path);
    if (r == 0 || r == -ENOENT)
        r = s->io->unlink(s->io, path);
    return r == -ENOENT ? 0 : r;
}

static int put_aside(struct tlog_recovering *s, unsigned i, const struct tlog_error *error)
{
    char from[TLOG_NAME_BYTES], to[TLOG_NAME_BYTES], suffix[24];
    uint64_t pos = s->p->segments[i].pos;
    struct tlog_io_stat st;
    int taken = 1;
    for (unsigned n = 0; taken > 0 && n < 1000; n++) { /* never over an earlier one */
        snprintf(suffix, sizeof suffix, n ? ".zst.cut.%u" : ".zst.cut", n);
        taken = tlog_recover_stat(s, pos, suffix, &st);
    }
    tlog_recover_file_name(s, pos, ".zst", from);
    tlog_recover_file_name(s, pos, suffix, to);
    int r = taken < 0 ? taken : s->io->rename(s->io, from, to);
    if (r == 0)
        r = s->io->sync_dir(s->io, s->dir);
    if (r < 0)
        return r;
    s->p->segments[i].forms = TLOG_RAW;
    s->p->ground->recovery.cut_files++;
    tlog_ground_note(s->p->ground,
                     "%s/%u: %020" PRIu64
                     ".zst: %s; the segment's raw files are there, the sealed one was put aside as "
                     "%020" PRIu64 "%s",
                     s->p->topic->name, s->p->number, pos, error->text, pos, suffix);
    return 0;
}

static void tell_damaged(struct tlog_recovering *s, uint64_t pos, const struct tlog_error *error)
{
    tlog_ground_note(s->p->ground, "%s/%u: %020" PRIu64 ".zst: %s", s->p->topic->name, s->p->number, pos, error->text);
    s->p->damaged = true;
}

/* Where a raw segment's index ends: 1; 0: there is none that could be read. */
static int raw_end(struct tlog_recovering *s, int log, int idx, uint64_t pos, struct tlog_point *end)
{
    struct tlog_scan scan;
    int r = tlog_scan_open(&scan, s->io, log, idx, pos, s->p->topic->id, NULL);
    if (r == 0)
        r = tlog_scan_tail(&scan, 0);
    if (r == -EBADMSG)
        return 0;
    *end = scan.at;
    if (r == 0 && scan.at.pos - pos > scan.log_bytes)
        end->pos = pos + scan.log_bytes;
    return r < 0 ? r : 1;
}

/* The same, of files that are opened for it, and synced in a copy. */
static int closed_raw_end(struct tlog_recovering *s, uint64_t pos, struct tlog_point *end)
{
    char path[TLOG_NAME_BYTES];
    tlog_recover_file_name(s, pos, ".log", path);
    int log = s->io->open(s->io, path, TLOG_IO_READ);
    tlog_recover_file_name(s, pos, ".idx", path);
    int idx = log < 0 ? log : s->io->open(s->io, path, TLOG_IO_READ);
    int r = idx == -ENOENT ? 0 : idx < 0 ? idx : raw_end(s, log, idx, pos, end);
    if (r > 0 && s->recover && s->recover->copied) {
        int synced = s->io->sync(s->io, log);
        if (synced == 0)
            synced = s->io->sync(s->io, idx);
        r = synced < 0 ? synced : r;
    }
    if (log >= 0)
        s->io->close(s->io, log);
    if (idx >= 0)
        s->io->close(s->io, idx);
    return r;
}

/* Both forms of a segment in a copy: the raw one may have been copied while it was still growing. */
static int compare_forms(struct tlog_recovering *s, unsigned i, const struct tlog_point *end)
{
    struct tlog_point raw;
    uint64_t pos = s->p->segments[i].pos;
    int r = closed_raw_end(s, pos, &raw);
    if (r < 0 || (r > 0 && raw.pos == end->pos && raw.chain == end->chain))
        return r < 0 ? r : 0;
    tlog_recover_note(s, "the raw files of segment", pos, " are not whole, its sealed file is");
    r = tlog_recover_remove_raw(s, pos);
    s->p->segments[i].forms = TLOG_SEALED;
    return r;
}

int tlog_recover_check_sealed(struct tlog_recovering *s)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < s->p->segment_count; i++) {
        struct tlog_segment *segment = &s->p->segments[i];
        struct tlog_error error = {0};
        struct tlog_point first, end;
        if (!(segment->forms & TLOG_SEALED) || segment->pos < s->known_below)
            continue;
        r = tlog_recover_sealed(s, segment->pos, &first, &end, &error);
        if (r == 0)
            segment->seq = first.seq;
        if (r == 0 && (segment->forms & TLOG_RAW) && s->recover && s->recover->copied) {
            r = compare_forms(s, i, &end);
        } else if (r == -EBADMSG && (segment->forms & TLOG_RAW)) {
            r = s->recover ? put_aside(s, i, &error) : 0;
        } else if (r == -EBADMSG) {
            tell_damaged(s, segment->pos, &error);
            r = 0;
        } else if (r == -ENOENT && !s->recover) { /* trimmed by whoever serves the store that is looked at */
            r = 0;
        }
    }
    return r;
}

unsigned tlog_recover_sealed_count(const struct tlog_recovering *s)
{
    unsigned count = s->p->segment_count;
    while (count > 0 && !(s->p->segments[count - 1].forms & TLOG_SEALED))
        count--;
    return count;
}

/* Where segment i, which is not the active one, ends. */
static int end_of(struct tlog_recovering *s, unsigned i, uint64_t *end)
{
    struct tlog_point point;
    const struct tlog_segment *segment = &s->p->segments[i];
    int r;
    if (segment->forms & TLOG_SEALED) {
        r = tlog_recover_sealed(s, segment->pos, NULL, &point, NULL);
        *end = r == -EBADMSG && i + 1 < s->p->segment_count ? s->p->segments[i + 1].pos : point.pos; /* told before */
        return r == -EBADMSG ? 0 : r;
    }
    if (s->recover && s->recover->copied) {
        r = closed_raw_end(s, segment->pos, &point);
        *end = r > 0 ? point.pos : segment->pos;
        return r < 0 ? r : 0;
    }
    struct tlog_io_stat st;
    r = tlog_recover_stat(s, segment->pos, ".log", &st);
    *end = segment->pos + (r > 0 ? st.size_bytes : 0);
    return r < 0 ? r : 0;
}

int tlog_recover_find_holes(struct tlog_recovering *s)
{
    struct tlog_partition *p = s->p;
    for (unsigned i = 0; i + 1 < p->segment_count; i++) {
        uint64_t end, next = p->segments[i + 1].pos;
        if (next <= s->known_below || next > s->at.pos)
            continue;
        int r = end_of(s, i, &end);
        if (r < 0)
            return r;
        if (end < next) {
            tlog_recover_note(s, "bytes are missing from", end, " on: a hole between segments");
            p->damaged = true;
        }
    }
    if (tlog_recover_sealed_count(s) > s->segment + 1 && !p->damaged) {
        tlog_recover_note(s, "bytes are missing from", s->at.pos, " on: a sealed segment lies behind them");
        p->damaged = true;
    }
    return 0;
}

int tlog_recover_follow_sealed(struct tlog_recovering *s)
{
    if (!(s->p->segments[s->segment].forms & TLOG_SEALED))
        return 0;
    int r = tlog_recover_drop_segments(s, s->segment + 1);
    if (r < 0)
        return r;
    s->p->closed = s->at;
    r = tlog_segment_make(s->p);
    s->segment = s->p->segment_count - 1;
    s->idx_bytes = TLOG_INDEX_HEADER_BYTES;
    s->changed = true;
    return r;
}
