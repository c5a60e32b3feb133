/* Recovery of one partition: finding where its log ends, putting in what the journal holds, and making the files
 * say so. Nothing is thrown away: bytes that do not count go to a .cut file beside the log, which is synced
 * before the log is cut. */
#include "log/recover_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "log/error.h"

void tlog_recover_note(struct tlog_recovering *s, const char *before, uint64_t number, const char *after)
{
    tlog_ground_note(s->p->ground, "%s/%u: %s %" PRIu64 "%s", s->p->topic->name, s->p->number, before, number, after);
}

void tlog_recover_close_segment(struct tlog_recovering *s, unsigned i)
{
    tlog_handles_close(&s->p->ground->handles, &s->p->segments[i].handle);
}

int tlog_recover_open_scan(struct tlog_recovering *s, unsigned i, struct tlog_scan *scan, struct tlog_error *error)
{
    struct tlog_handle *handle;
    int r = s->p->segments[i].forms & TLOG_RAW ? tlog_segment_open(s->p, i, &handle) : -EBADMSG;
    if (r == 0)
        r = tlog_scan_open(scan, s->io, handle->log_fd, handle->idx_fd, s->p->segments[i].pos, s->p->topic->id, error);
    if (r == 0)
        s->p->segments[i].seq = scan->at.seq;
    return r;
}

/* ---- all of it ---- */

/* Segments whose making was cut short (no bytes, no header) are no segments. */
static int drop_unmade(struct tlog_recovering *s)
{
    while (s->p->segment_count > 0 && !(tlog_active(s->p)->forms & TLOG_SEALED)) {
        uint64_t pos = tlog_active(s->p)->pos;
        struct tlog_scan scan;
        struct tlog_io_stat log, idx;
        int r = tlog_recover_stat(s, pos, ".log", &log);
        bool there = r > 0;
        if (r < 0 || (there && log.size_bytes > 0))
            return r < 0 ? r : 0;
        r = tlog_recover_stat(s, pos, ".idx", &idx);
        if (r > 0 && there) {
            r = tlog_recover_open_scan(s, s->p->segment_count - 1, &scan, NULL);
            if (r != -EBADMSG)
                return r;
        }
        if (r >= 0 || r == -EBADMSG)
            r = tlog_recover_drop_segments(s, s->p->segment_count - 1);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Where the partition's first segment begins. */
static struct tlog_point start_of(struct tlog_recovering *s)
{
    struct tlog_topic *topic = tlog_topic_of(s->p);
    struct tlog_point start = {.chain = tlog_root_chain(topic->head.id, s->p->number)};
    if (s->p->number < topic->ends_count && topic->ends[s->p->number].pos > 0)
        start = topic->ends[s->p->number];
    return start;
}

/* Names become durable in any order: a power cut can leave later segments without the first, which was not known
 * to be durable, and so were not they. */
static int drop_baseless(struct tlog_recovering *s, const struct tlog_checkpoint_row *row)
{
    uint64_t start = s->start ? s->start : start_of(s).pos;
    bool believed = s->recover->same_boot || s->recover->copied || s->recover->lost;
    bool left = !believed && tlog_recover_sealed_count(s) == 0;
    if (!left || s->p->segment_count == 0 || s->p->segments[0].pos <= start || (row && row->synced > start))
        return 0;
    return tlog_recover_drop_segments(s, 0);
}

int tlog_recover_make_empty(struct tlog_recovering *s)
{
    struct tlog_point start = start_of(s);
    int r = tlog_partition_make(s->p, &start);
    s->at = start;
    s->segment = 0;
    s->idx_bytes = s->p->idx_bytes;
    return r;
}

/* When the active segment got its first bytes, for segment.ms. */
static int64_t first_append_ns(struct tlog_recovering *s)
{
    struct tlog_handle *handle;
    struct tlog_entry first;
    bool sealed = tlog_active(s->p)->forms & TLOG_SEALED;
    if (sealed || s->at.pos == tlog_active(s->p)->pos || tlog_active_open(s->p, &handle) < 0)
        return 0;
    struct tlog_scan scan = {.io = s->io, .idx_fd = handle->idx_fd};
    return tlog_scan_entry(&scan, 0, &first) < 0 ? s->at.time_ns : first.time_ns;
}

/* Damage stays what it is until somebody mends it: the checkpoint must speak of the same files and bytes. */
static void settle_damaged(struct tlog_recovering *s, const struct tlog_checkpoint_row *row)
{
    struct tlog_partition *p = s->p;
    char path[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    uint64_t pos = tlog_active(p)->pos;
    p->claimed = pos + tlog_recover_size_of(s, pos, ".log");
    if (row && row->synced > p->claimed)
        p->claimed = row->synced;
    tlog_recover_file_name(s, pos, ".log", path);
    if (s->io->stat_path(s->io, path, &st) == 0)
        p->log_inode = st.inode;
    tlog_recover_file_name(s, pos, ".idx", path);
    if (s->io->stat_path(s->io, path, &st) == 0)
        p->idx_inode = st.inode;
}

/* Up to where the files are synced: the checkpoint knows, or the last sealed segment, below which all was before it was
 * sealed; in a copy all but the active segment's were synced just now. */
static uint64_t synced_to(struct tlog_recovering *s, const struct tlog_checkpoint_row *row)
{
    const struct tlog_partition *p = s->p;
    uint64_t synced =
        row && row->synced <= p->end && row->synced > p->segments[0].pos ? row->synced : p->segments[0].pos;
    unsigned count = s->recover->copied && !p->damaged ? p->segment_count - 1 : tlog_recover_sealed_count(s);
    uint64_t below = count == 0 ? 0 : count < p->segment_count ? p->segments[count].pos : p->end;
    return synced > below || below > p->end ? synced : below;
}

static int settle(struct tlog_recovering *s, const struct tlog_checkpoint_row *row)
{
    struct tlog_partition *p = s->p;
    struct tlog_io_stat st;
    p->start = p->segments[0].pos;
    p->start_seq = p->segments[0].seq;
    tlog_partition_stand(p, &s->at, s->idx_bytes);
    if (p->last_append_ns == 0) { /* nothing was ever appended: when it was made */
        char path[TLOG_NAME_BYTES];
        tlog_recover_file_name(s, tlog_active(p)->pos, ".log", path);
        if (s->io->stat_path(s->io, path, &st) == 0)
            p->last_append_ns = p->changed_ns = st.mtime_ns;
    }
    p->segment_first_ns = first_append_ns(s);
    p->synced = synced_to(s, row);
    p->durable = p->journaled = p->synced;
    p->inherited = p->synced < p->end || s->changed || s->recover->copied;
    /* Names that the checkpoint knows are durable. Others may be of an earlier start that was killed. */
    bool known = row && p->end > p->segments[0].pos && row->synced == p->end && row->segment_pos == tlog_active(p)->pos;
    if (!known)
        p->unlisted = p->files_unlisted = true;
    if (s->changed)
        p->files_unlisted = true;
    if (p->damaged)
        settle_damaged(s, row);
    if (p->inherited)
        tlog_partition_needs(p, s->recover->checkpoint.lsn ? s->recover->checkpoint.lsn : 1);
    return tlog_recover_count_disk(s);
}

/* Whether the segments are those that the checkpoint knows. */
static void know_segments(struct tlog_recovering *s, const struct tlog_checkpoint_row *row)
{
    struct tlog_partition *p = s->p;
    if (!row || row->segments_hash == 0 || p->segment_count == 0 || p->damaged ||
        row->segments_hash != tlog_segments_hash(p, row->start, row->segment_pos))
        return;
    s->known_below = row->segment_pos;
    if (p->segments[0].pos == row->start)
        p->segments[0].seq = row->start_seq;
}

/* Finds the end and makes the files agree with it. `row` may be NULL. */
static int repair(struct tlog_recovering *s, const struct tlog_checkpoint_row *row)
{
    struct tlog_partition *p = s->p;
    bool empty = p->segment_count == 0, failed = s->failed_marker || (row && row->failed);
    int known = empty || !s->recover->same_boot ? 0 : tlog_recover_known_files(s, row);
    if (known < 0)
        return known;
    /* Pages of a failed writeback count as clean: after one, even this boot's cache must prove itself. */
    int r = empty ? tlog_recover_make_empty(s) : tlog_recover_check_sealed(s);
    if (r == 0 && !empty)
        r = tlog_recover_locate(s, row, known && !failed);
    if (r == 0)
        r = tlog_recover_find_holes(s);
    if (r == 0 && !p->damaged)
        r = tlog_recover_follow_sealed(s);
    if (r == 0 && !p->damaged && (!s->recover->same_boot || failed))
        r = tlog_recover_replay(s);
    if (r == 0 && row && s->at.pos < row->synced && !p->damaged) {
        tlog_recover_note(s, "bytes that had been synced are missing from", s->at.pos, " on");
        p->damaged = true;
    }
    if (r < 0 || p->damaged) /* damage is left as it is, for somebody to look at */
        return r;
    r = tlog_recover_drop_segments(s, s->segment + 1);
    if (r == 0 && known && s->index_tail && !s->raw)
        r = tlog_recover_index_lines(s, p->segment_count - 1, UINT64_MAX);
    if (r == 0)
        r = tlog_recover_cut(s);
    if (r == 0 && failed)
        r = tlog_recover_rewrite(s, row ? row->synced : p->segments[0].pos);
    return r;
}

/* The number of the first record. */
static int learn_first(struct tlog_recovering *s)
{
    struct tlog_segment *segment = &s->p->segments[0];
    struct tlog_point first;
    struct tlog_scan scan;
    int r = 0;
    if (segment->pos < s->known_below && (segment->pos == 0 || segment->seq != 0))
        return 0;
    if (segment->forms & TLOG_RAW) {
        r = tlog_recover_open_scan(s, 0, &scan, NULL);
    } else {
        r = tlog_recover_sealed(s, segment->pos, &first, NULL, NULL);
        segment->seq = r == 0 ? first.seq : 0;
    }
    if (r == -EBADMSG || r == -ENOENT) {
        s->p->damaged = true;
        r = 0;
    }
    return r;
}

int tlog_partition_recover(struct tlog_recover *recover, struct tlog_partition *p, struct tlog_error *error)
{
    struct tlog_recovering s = {.recover = recover, .p = p, .io = p->ground->io, .copied = recover->copied};
    s.raw = tlog_value(p->topic, TLOG_MESSAGE_FORMAT) == TLOG_FORMAT_RAW;
    tlog_partition_dir(p, s.dir);
    const struct tlog_checkpoint_row *found = tlog_checkpoint_find(&recover->checkpoint, p->topic->id, p->number);
    int r = found ? tlog_recover_replaced(&s, found) : 0;
    const struct tlog_checkpoint_row *row = r > 0 ? NULL : found;
    if (r >= 0)
        r = tlog_recover_list(&s);
    if (r == 0)
        r = tlog_recover_start(&s, found, found && !row);
    if (r == 0)
        r = drop_unmade(&s);
    if (r == 0)
        r = drop_baseless(&s, row);
    know_segments(&s, row);
    if (r == 0)
        r = repair(&s, row);
    if (r == 0 && p->segment_count > 1)
        r = learn_first(&s);
    if (r == 0)
        r = settle(&s, row);
    if (r < 0)
        tlog_error_set(error, "recovery: %s", r == -ENOTSUP ? "an index of a newer format" : strerror(-r));
    return r;
}

int tlog_partition_look(struct tlog_recover *recover, struct tlog_partition *p, struct tlog_error *error)
{
    struct tlog_recovering s = {.p = p, .io = p->ground->io, .copied = recover->copied};
    s.raw = tlog_value(p->topic, TLOG_MESSAGE_FORMAT) == TLOG_FORMAT_RAW;
    tlog_partition_dir(p, s.dir);
    const struct tlog_checkpoint_row *row = tlog_checkpoint_find(&recover->checkpoint, p->topic->id, p->number);
    int r = tlog_recover_list(&s);
    if (r == 0)
        tlog_recover_look_start(recover, p, row);
    while (r == 0 && p->segment_count > 1 && !(tlog_active(p)->forms & TLOG_SEALED) &&
           tlog_recover_size_of(&s, tlog_active(p)->pos, ".log") == 0)
        p->segment_count--;
    if (r == 0 && p->segment_count == 0)
        r = tlog_segment_add(p, 0, 0, TLOG_RAW);
    if (r == 0)
        r = tlog_recover_check_sealed(&s);
    bool sealed = r == 0 && tlog_active(p)->forms & TLOG_SEALED;
    if (r == 0 && !sealed && tlog_recover_has_file(&s, tlog_active(p)->pos, ".idx"))
        r = tlog_recover_trust(&s);
    if (sealed || r == -EBADMSG || r == -ENOENT)
        r = tlog_recover_locate(&s, NULL, false);
    if (r == 0 && (p->segments[0].forms & TLOG_SEALED || tlog_recover_has_file(&s, p->segments[0].pos, ".idx")))
        r = learn_first(&s);
    uint64_t idx_bytes = s.idx_bytes;
    struct tlog_point closed = s.at;
    if (r == 0 && s.index_tail && !s.raw)
        r = tlog_recover_index_lines(&s, p->segment_count - 1, UINT64_MAX);
    if (r == 0)
        r = tlog_recover_count_disk(&s);
    if (r < 0) {
        tlog_error_set(error, "%s", strerror(-r));
        return r;
    }
    tlog_partition_stand(p, &s.at, idx_bytes);
    p->start = p->segments[0].pos;
    p->start_seq = p->segments[0].seq;
    p->durable = p->start;
    if (row && row->synced > p->durable)
        p->durable = row->synced < p->end ? row->synced : p->end;
    return s.at.pos > closed.pos ? tlog_entry_pretend(p, &closed) : 0;
}
