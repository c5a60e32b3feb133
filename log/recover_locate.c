/* Recovery of one partition: finding where its log ends, in each of the three cases. */
#include "log/recover_state.h"

#include <errno.h>

enum { TAIL_ENTRIES = 64 };

static void stand(struct tlog_recovering *s, unsigned i, const struct tlog_scan *scan)
{
    s->at = scan->at;
    s->segment = i;
    s->idx_bytes = scan->idx_foff;
}

static int tell_progress(void *arg, const struct tlog_entry *entry)
{
    struct tlog_recover *recover = arg;
    const struct tlog_options *options = &recover->store->ground.options;
    uint64_t before = recover->done_bytes >> 24;
    recover->done_bytes += entry->length_bytes;
    if (options->progress && recover->done_bytes >> 24 != before)
        options->progress(options->arg, recover->done_bytes,
                          recover->total_bytes > recover->done_bytes ? recover->total_bytes : recover->done_bytes);
    return 0;
}

int tlog_recover_trust(struct tlog_recovering *s)
{
    unsigned last = s->p->segment_count - 1;
    struct tlog_scan scan;
    if (s->p->segments[last].forms & TLOG_SEALED)
        return -EBADMSG;
    int r = tlog_recover_open_scan(s, last, &scan, NULL);
    if (r == 0)
        r = tlog_scan_tail(&scan, 1);
    if (r < 0)
        return r;
    scan.check_data = true;
    r = tlog_scan_run(&scan, NULL);
    s->index_tail = r == 0;
    if (r == -EBADMSG) {
        /* An entry whose data was not written yet when the daemon was killed: nobody was answered. */
        struct tlog_entry entry;
        r = tlog_scan_entry(&scan, (scan.idx_foff - TLOG_INDEX_HEADER_BYTES) / TLOG_ENTRY_BYTES, &entry);
        if (r == 0 && entry.pos - scan.segment_pos + entry.length_bytes <= scan.log_bytes)
            r = -EBADMSG;
    }
    if (r == 0)
        stand(s, last, &scan);
    return r;
}

/* Verifies a raw segment from the scan on. 1: it is good to its end. */
static int pass_raw(struct tlog_recovering *s, unsigned i, struct tlog_scan *scan)
{
    struct tlog_recover *recover = s->recover;
    scan->check_data = true;
    if (recover) {
        scan->each = tell_progress;
        scan->arg = recover;
        recover->total_bytes += scan->log_bytes - (scan->at.pos - scan->segment_pos);
    }
    int r = tlog_scan_run(scan, NULL);
    stand(s, i, scan);
    s->index_tail = r == 0 && i + 1 == s->p->segment_count;
    return r == 0 ? 1 : r == -EBADMSG ? 0 : r;
}

/* The raw segment i, when it goes on where the log stands. 1: to be verified. */
static int enter_raw(struct tlog_recovering *s, unsigned i, struct tlog_scan *scan)
{
    struct tlog_scan next;
    int r = tlog_recover_open_scan(s, i, &next, NULL);
    if (r < 0)
        return r == -EBADMSG || r == -ENOENT ? 0 : r;
    if (next.at.seq != s->at.seq || next.at.chain != s->at.chain)
        return 0;
    next.at.epoch = s->at.epoch;
    next.at.leader = s->at.leader;
    *scan = next;
    return 1;
}

/* Goes past the sealed segment i, which was verified when it was sealed; `follows`: it must go on where the log stands.
 * One that cannot be read was told as damage: the log is taken up again behind it. */
static int pass_sealed(struct tlog_recovering *s, unsigned i, bool follows)
{
    struct tlog_point first, end;
    struct tlog_scan scan;
    uint64_t pos = s->p->segments[i].pos;
    int r = tlog_recover_sealed(s, pos, &first, &end, NULL);
    if (r == -EBADMSG) {
        s->p->damaged = true;
        end = (struct tlog_point){.pos = pos};
        if (i + 1 < s->p->segment_count && tlog_recover_open_scan(s, i + 1, &scan, NULL) == 0)
            end = scan.at;
        r = 0;
    } else if (r == 0 && follows && (first.seq != s->at.seq || first.chain != s->at.chain)) {
        return 0;
    }
    if (r < 0)
        return r;
    s->at = end;
    s->segment = i;
    s->idx_bytes = 0;
    s->index_tail = false;
    return 1;
}

/* Goes on verifying from the scan (none: segment i is sealed) over this and the later segments as far as it holds. */
static int verify_on(struct tlog_recovering *s, unsigned i, struct tlog_scan *scan)
{
    struct tlog_scan next;
    int r = scan ? pass_raw(s, i, scan) : pass_sealed(s, i, false);
    while (r == 1 && ++i < s->p->segment_count && s->p->segments[i].pos == s->at.pos) {
        if (s->p->segments[i].forms & TLOG_SEALED) {
            r = pass_sealed(s, i, true);
            continue;
        }
        r = enter_raw(s, i, &next);
        if (r == 1)
            r = pass_raw(s, i, &next);
    }
    return r < 0 ? r : 0;
}

int tlog_recover_end_of(struct tlog_recovering *s, unsigned i, struct tlog_point *end)
{
    struct tlog_scan scan;
    if (s->p->segments[i].forms & TLOG_SEALED)
        return tlog_recover_sealed(s, s->p->segments[i].pos, NULL, end, NULL);
    int r = tlog_recover_open_scan(s, i, &scan, NULL);
    if (r == 0)
        r = tlog_scan_run(&scan, NULL);
    if (r == 0)
        *end = scan.at;
    return r;
}

/* The segment from which on a power cut can have torn anything: it holds `synced`, or follows the last sealed one. */
static unsigned first_doubtful(struct tlog_recovering *s, uint64_t synced)
{
    unsigned i = tlog_segment_find(s->p, synced > s->p->segments[0].pos ? synced : s->p->segments[0].pos);
    unsigned sealed = tlog_recover_sealed_count(s);
    return sealed > i ? sealed - 1 : i;
}

/* Another boot: verified from `synced` on. */
static int verify(struct tlog_recovering *s, uint64_t synced)
{
    struct tlog_scan scan;
    unsigned i = first_doubtful(s, synced);
    if (s->p->segments[i].forms & TLOG_SEALED)
        return verify_on(s, i, NULL);
    int r = tlog_recover_open_scan(s, i, &scan, NULL);
    if (r == 0 && synced > s->p->segments[i].pos && tlog_scan_seek(&scan, synced) < 0)
        r = tlog_recover_open_scan(s, i, &scan, NULL);
    return r < 0 ? r : verify_on(s, i, &scan);
}

/* A copy: the last segment's last entries; the whole of it when those do not hold. */
static int verify_tail(struct tlog_recovering *s)
{
    struct tlog_scan scan;
    unsigned last = s->p->segment_count - 1;
    if (s->p->segments[last].forms & TLOG_SEALED)
        return verify_on(s, last, NULL);
    int r = tlog_recover_open_scan(s, last, &scan, NULL);
    if (r == 0)
        r = tlog_scan_tail(&scan, TAIL_ENTRIES);
    if (r == 0)
        r = verify_on(s, last, &scan);
    struct tlog_scan again = scan;
    if (r == 0 && scan.idx_foff < scan.idx_bytes / TLOG_ENTRY_BYTES * TLOG_ENTRY_BYTES) {
        r = tlog_recover_open_scan(s, last, &again, NULL);
        if (r == 0)
            r = verify_on(s, last, &again);
    }
    return r;
}

int tlog_recover_known_files(struct tlog_recovering *s, const struct tlog_checkpoint_row *row)
{
    struct tlog_io_stat log, idx;
    uint64_t pos = tlog_active(s->p)->pos;
    if (tlog_active(s->p)->forms & TLOG_SEALED)
        return 0;
    int r = tlog_recover_stat(s, pos, ".log", &log);
    if (r > 0)
        r = tlog_recover_stat(s, pos, ".idx", &idx);
    if (r <= 0)
        return r;
    if (row && row->segment_pos == pos && row->log_inode == log.inode && row->idx_inode == idx.inode)
        return 1;
    size_t count;
    struct tlog_replayed *records = tlog_recover_records(s->recover, s->p, &count);
    for (size_t i = 0; i < count; i++)
        if (records[i].type == TLOG_JOURNAL_FILES && records[i].body_bytes >= 24 &&
            tlog_get_u64(records[i].body) == pos && tlog_get_u64(records[i].body + 8) == log.inode &&
            tlog_get_u64(records[i].body + 16) == idx.inode)
            return 1;
    return 0;
}

int tlog_recover_replaced(struct tlog_recovering *s, const struct tlog_checkpoint_row *row)
{
    struct tlog_io_stat st;
    int r = tlog_recover_stat(s, row->segment_pos, ".log", &st);
    return r > 0 ? st.inode != row->log_inode : r;
}

/* A power cut left segment i without an index, and nothing in it was known to be durable: bytes that no chain
 * vouches for. The log ends before it. */
static int go_without(struct tlog_recovering *s, unsigned i)
{
    struct tlog_scan scan;
    int r = tlog_recover_drop_segments(s, i);
    if (r < 0 || i == 0)
        return r < 0 ? r : tlog_recover_make_empty(s);
    if (s->p->segments[i - 1].forms & TLOG_SEALED)
        return verify_on(s, i - 1, NULL);
    r = tlog_recover_open_scan(s, i - 1, &scan, NULL);
    return r < 0 ? r : verify_on(s, i - 1, &scan);
}

/* Where the log ends, by the case it is. */
int tlog_recover_locate(struct tlog_recovering *s, const struct tlog_checkpoint_row *row, bool trusted)
{
    uint64_t synced = row ? row->synced : s->p->segments[0].pos;
    int r = -EBADMSG;
    if (trusted)
        r = tlog_recover_trust(s);
    if (r == -EBADMSG)
        r = s->recover && s->recover->copied ? verify_tail(s) : verify(s, synced);
    if (r != -EBADMSG && r != -ENOENT)
        return r;
    /* An index that is missing, or whose header is not one, where bytes were known to be. */
    unsigned i = first_doubtful(s, synced);
    bool unplugged = s->recover && !s->recover->copied && !s->recover->same_boot;
    if (unplugged && synced <= s->p->segments[i].pos)
        return go_without(s, i);
    if (s->recover && s->recover->copied)
        i = s->p->segment_count - 1;
    struct tlog_io_stat st;
    r = tlog_recover_stat(s, s->p->segments[i].pos, ".log", &st);
    if (r < 0)
        return r;
    bool lines = !s->raw && s->recover && r > 0;
    /* In a copy the last one may have got its index after the names were read: nothing was durable in it by then. */
    if (s->raw && s->recover && s->recover->copied && i > 0 && !tlog_recover_has_file(s, s->p->segments[i].pos, ".idx"))
        return go_without(s, i);
    r = -EBADMSG;
    if (lines) {
        tlog_recover_close_segment(s, i);
        r = tlog_recover_index_anew(s, i, unplugged ? synced : UINT64_MAX);
    }
    if (r == -EBADMSG || r == -ENOENT) {
        tlog_recover_note(s, "the index of segment", s->p->segments[i].pos, " is missing or damaged");
        s->p->damaged = true;
        s->at = (struct tlog_point){.pos = s->p->segments[i].pos};
        s->segment = i;
        r = 0;
    }
    return r;
}
