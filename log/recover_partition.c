/* Recovery of one partition: finding where its log ends, putting in what the journal holds, and making the files
 * say so. Nothing is thrown away: bytes that do not count go to a .cut file beside the log, which is synced
 * before the log is cut. */
#include "log/recover_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/error.h"

void tlog_recover_note(struct tlog_recovering *s, const char *before, uint64_t number, const char *after)
{
    tlog_ground_note(s->p->ground, "%s/%u: %s %" PRIu64 "%s", s->p->topic->name, s->p->number, before, number, after);
}

/* ---- the directory ---- */

struct found {
    uint64_t *positions;
    size_t count;
    bool failed_marker;
};

static int add_position(void *arg, const char *name)
{
    struct found *found = arg;
    char *end;
    uint64_t pos = strtoull(name, &end, 10);
    if (strcmp(name, "failed") == 0)
        found->failed_marker = true;
    if (end != name + 20 || (strcmp(end, ".log") != 0 && strcmp(end, ".idx") != 0))
        return 0;
    for (size_t i = 0; i < found->count; i++)
        if (found->positions[i] == pos)
            return 0;
    uint64_t *grown = realloc(found->positions, (found->count + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    found->positions = grown;
    grown[found->count++] = pos;
    return 0;
}

static int by_position(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static int list_segments(struct tlog_recovering *s)
{
    struct found found = {0};
    int r = s->io->list(s->io, s->dir, add_position, &found);
    if (r == 0 && found.count > 0)
        qsort(found.positions, found.count, sizeof *found.positions, by_position);
    for (size_t i = 0; r == 0 && i < found.count; i++)
        r = tlog_segment_add(s->p, found.positions[i], 0, TLOG_RAW);
    free(found.positions);
    s->failed_marker = found.failed_marker;
    return r;
}

void tlog_recover_file_name(struct tlog_recovering *s, uint64_t pos, const char *suffix, char to[TLOG_NAME_BYTES])
{
    char path[TLOG_NAME_BYTES];
    tlog_segment_path(s->p, pos, path);
    if (snprintf(to, TLOG_NAME_BYTES, "%s%s", path, suffix) >= TLOG_NAME_BYTES)
        to[TLOG_NAME_BYTES - 1] = 0;
}

uint64_t tlog_recover_size_of(struct tlog_recovering *s, uint64_t pos, const char *suffix)
{
    char path[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    tlog_recover_file_name(s, pos, suffix, path);
    return s->io->stat_path(s->io, path, &st) == 0 ? st.size_bytes : 0;
}

int tlog_recover_stat(struct tlog_recovering *s, uint64_t pos, const char *suffix, struct tlog_io_stat *out)
{
    char path[TLOG_NAME_BYTES];
    tlog_recover_file_name(s, pos, suffix, path);
    int r = s->io->stat_path(s->io, path, out);
    return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

bool tlog_recover_has_file(struct tlog_recovering *s, uint64_t pos, const char *suffix)
{
    char path[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    tlog_recover_file_name(s, pos, suffix, path);
    return s->io->stat_path(s->io, path, &st) == 0;
}

void tlog_recover_close_segment(struct tlog_recovering *s, unsigned i)
{
    tlog_handles_close(&s->p->ground->handles, &s->p->segments[i].handle);
}

int tlog_recover_open_scan(struct tlog_recovering *s, unsigned i, struct tlog_scan *scan, struct tlog_error *error)
{
    struct tlog_handle *handle;
    int r = tlog_segment_open(s->p, i, &handle);
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
    while (s->p->segment_count > 0) {
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
    bool left = !s->recover->same_boot && !s->recover->copied && !s->recover->lost;
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
    if (s->at.pos == tlog_active(s->p)->pos || tlog_active_open(s->p, &handle) < 0)
        return 0;
    struct tlog_scan scan = {.io = s->io, .idx_fd = handle->idx_fd};
    return tlog_scan_entry(&scan, 0, &first) < 0 ? s->at.time_ns : first.time_ns;
}

static void count_disk_bytes(struct tlog_partition *p)
{
    for (unsigned i = 0; i + 1 < p->segment_count; i++) {
        struct tlog_io_stat st = {.disk_bytes = (p->segments[i + 1].pos - p->segments[i].pos + 4095) & ~(uint64_t)4095};
        tlog_segment_form(p, i, TLOG_RAW, &st);
    }
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

static void settle(struct tlog_recovering *s, const struct tlog_checkpoint_row *row)
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
    p->synced = row && row->synced <= p->end && row->synced > p->segments[0].pos ? row->synced : p->segments[0].pos;
    p->durable = p->journaled = p->synced;
    p->inherited = p->synced < p->end || s->changed;
    /* Names that the checkpoint knows are durable. Others may be of an earlier start that was killed. */
    bool known = row && p->end > p->segments[0].pos && row->synced == p->end && row->segment_pos == tlog_active(p)->pos;
    if (!known)
        p->unlisted = p->files_unlisted = true;
    if (s->changed)
        p->files_unlisted = true;
    count_disk_bytes(p);
    if (p->damaged)
        settle_damaged(s, row);
    if (p->inherited)
        tlog_partition_needs(p, s->recover->checkpoint.lsn ? s->recover->checkpoint.lsn : 1);
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
    int r = empty ? tlog_recover_make_empty(s) : tlog_recover_locate(s, row, known && !failed);
    if (r == 0)
        r = tlog_recover_find_holes(s);
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

int tlog_partition_recover(struct tlog_recover *recover, struct tlog_partition *p, struct tlog_error *error)
{
    struct tlog_recovering s = {.recover = recover, .p = p, .io = p->ground->io};
    s.raw = tlog_value(p->topic, TLOG_MESSAGE_FORMAT) == TLOG_FORMAT_RAW;
    tlog_partition_dir(p, s.dir);
    const struct tlog_checkpoint_row *row = tlog_checkpoint_find(&recover->checkpoint, p->topic->id, p->number);
    int r = row ? tlog_recover_replaced(&s, row) : 0;
    if (r > 0)
        row = NULL;
    if (r >= 0)
        r = list_segments(&s);
    if (r == 0)
        r = tlog_recover_start(&s, row);
    if (r == 0)
        r = drop_unmade(&s);
    if (r == 0)
        r = drop_baseless(&s, row);
    if (r == 0)
        r = repair(&s, row);
    struct tlog_scan first;
    if (r == 0 && p->segment_count > 1) {
        r = tlog_recover_open_scan(&s, 0, &first, NULL);
        p->damaged = p->damaged || r == -EBADMSG || r == -ENOENT;
        r = p->damaged ? 0 : r;
    }
    if (r < 0) {
        tlog_error_set(error, "recovery: %s", r == -ENOTSUP ? "an index of a newer format" : strerror(-r));
        return r;
    }
    settle(&s, row);
    return 0;
}

int tlog_partition_look(struct tlog_recover *recover, struct tlog_partition *p, struct tlog_error *error)
{
    struct tlog_recovering s = {.p = p, .io = p->ground->io};
    s.raw = tlog_value(p->topic, TLOG_MESSAGE_FORMAT) == TLOG_FORMAT_RAW;
    tlog_partition_dir(p, s.dir);
    int r = list_segments(&s);
    while (r == 0 && p->segment_count > 1 && tlog_recover_size_of(&s, tlog_active(p)->pos, ".log") == 0)
        p->segment_count--;
    if (r == 0 && p->segment_count == 0)
        r = tlog_segment_add(p, 0, 0, TLOG_RAW);
    if (r == 0 && tlog_recover_has_file(&s, tlog_active(p)->pos, ".idx"))
        r = tlog_recover_trust(&s);
    if (r == -EBADMSG || r == -ENOENT)
        r = tlog_recover_locate(&s, NULL, false);
    const struct tlog_checkpoint_row *row = tlog_checkpoint_find(&recover->checkpoint, p->topic->id, p->number);
    struct tlog_scan first;
    unsigned i = r == 0 && row && row->start > p->segments[0].pos ? tlog_segment_find(p, row->start) : 0;
    if (r == 0 && tlog_recover_has_file(&s, p->segments[i].pos, ".idx"))
        (void)tlog_recover_open_scan(&s, i, &first, NULL);
    uint64_t idx_bytes = s.idx_bytes;
    struct tlog_point closed = s.at;
    if (r == 0 && s.index_tail && !s.raw)
        r = tlog_recover_index_lines(&s, p->segment_count - 1, UINT64_MAX);
    if (r < 0) {
        tlog_error_set(error, "%s", strerror(-r));
        return r;
    }
    tlog_partition_stand(p, &s.at, idx_bytes);
    p->start = p->segments[i].pos;
    p->start_seq = p->segments[i].seq;
    count_disk_bytes(p);
    p->durable = p->start;
    if (row && row->synced > p->durable)
        p->durable = row->synced < p->end ? row->synced : p->end;
    return s.at.pos > closed.pos ? tlog_entry_pretend(p, &closed) : 0;
}
