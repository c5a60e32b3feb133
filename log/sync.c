/* Durability: through the journal for little, by syncing the files for much and in the background.
 *
 * An fsync closes the open entry, writes what the journal does not have yet (entries and their bytes) to it,
 * and waits for the journal's next sync together with everybody else. Unfinished lines are in the journal
 * anyway. What is more than 256 KiB goes to the platter as .log and .idx instead.
 *
 * How it fails. The journal's sync fails: the store is read-only, everybody waiting gets -EIO. A file's sync
 * fails: its partition is. Neither is tried again, since pages of a failed writeback count as clean. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/partition.h"
#include "log/wait.h"

/* ---- directory entries ---- */

/* The partition's directory or its topic's, as it is called now; false when the partition was deleted. */
static bool dir_now(struct tlog_partition *p, bool own, char to[TLOG_NAME_BYTES])
{
    pthread_mutex_lock(&p->lock);
    if (own)
        tlog_partition_dir(p, to);
    else
        tlog_topic_dir(p->topic, to);
    bool there = !p->deleted;
    pthread_mutex_unlock(&p->lock);
    return there;
}

/* Syncs that directory. A rename meanwhile is followed; -ESTALE: deleted. One that is missing under a name that it has
 * again was renamed there and back. */
static int sync_dir_of(struct tlog_partition *p, bool own)
{
    enum { RENAMES_MOST = 8 };
    char dir[TLOG_NAME_BYTES], now[TLOG_NAME_BYTES];
    if (!dir_now(p, own, dir))
        return -ESTALE;
    for (unsigned tries = 1;; tries++) {
        int r = p->ground->io->sync_dir(p->ground->io, dir);
        if (!dir_now(p, own, now))
            return -ESTALE;
        if (strcmp(now, dir) == 0 && (r != -ENOENT || tries >= RENAMES_MOST))
            return r;
        memcpy(dir, now, sizeof dir);
    }
}

int tlog_partition_sync_dir(struct tlog_partition *p)
{
    return sync_dir_of(p, true);
}

/* Whether a sync of a directory says that the disk refused, as opposed to one that could not be begun. */
static bool is_refusal(int r)
{
    return r < 0 && r != -ESTALE && r != -EMFILE && r != -ENFILE && r != -ENOMEM;
}

int tlog_partition_list(struct tlog_partition *p)
{
    char topics[TLOG_NAME_BYTES];
    pthread_mutex_lock(&p->lock);
    bool needed = p->unlisted, topic_needed = atomic_load(&p->topic->unlisted);
    pthread_mutex_unlock(&p->lock);
    int r = needed || topic_needed ? sync_dir_of(p, false) : 0;
    if (r == 0 && topic_needed) {
        snprintf(topics, sizeof topics, "%s/topics", p->ground->path);
        r = p->ground->io->sync_dir(p->ground->io, topics);
    }
    if (r < 0)
        return r;
    if (needed) {
        pthread_mutex_lock(&p->lock);
        p->unlisted = false;
        pthread_mutex_unlock(&p->lock);
    }
    if (topic_needed)
        atomic_store(&p->topic->unlisted, false);
    return 0;
}

/* ---- the files ---- */

/* Syncs the files of the segment that holds *synced, and moves that to the segment's end or to `target`. With
 * flush_lock, not the lock. *refused: the disk refused a sync, as opposed to a file that could not be opened. */
static int flush_segment(struct tlog_partition *p, uint64_t *synced, uint64_t target, bool inherited, bool *refused)
{
    struct tlog_handle *handle;
    pthread_mutex_lock(&p->lock);
    unsigned i = tlog_segment_find(p, *synced);
    uint64_t end = i + 1 < p->segment_count ? p->segments[i + 1].pos : target;
    int r = tlog_segment_open(p, i, &handle);
    bool dirty = r == 0 && (handle->dirty || inherited);
    if (dirty) {
        tlog_handle_ref(handle);
        handle->dirty = false;
    }
    pthread_mutex_unlock(&p->lock);
    if (dirty) {
        r = tlog_handle_sync(handle);
        *refused = r < 0;
        tlog_handle_unref(handle);
    }
    *synced = end < target ? end : target;
    return r;
}

static int flush_files(struct tlog_partition *p, uint64_t target, bool inherited, bool *refused)
{
    pthread_mutex_lock(&p->lock);
    uint64_t synced = p->synced;
    bool list = p->files_unlisted;
    p->files_unlisted = false;
    pthread_mutex_unlock(&p->lock);
    int r = list ? sync_dir_of(p, true) : 0;
    if (r < 0) {
        pthread_mutex_lock(&p->lock);
        p->files_unlisted = true;
        pthread_mutex_unlock(&p->lock);
    }
    if (r == 0)
        r = tlog_partition_list(p);
    *refused = is_refusal(r);
    do {
        if (r == 0)
            r = flush_segment(p, &synced, target, inherited, refused);
    } while (r == 0 && synced < target);
    return r;
}

int tlog_partition_flush(struct tlog_partition *p)
{
    bool refused = false;
    pthread_mutex_lock(&p->flush_lock);
    pthread_mutex_lock(&p->lock);
    int r = p->deleted ? -ESTALE : p->sync_error ? -EIO : tlog_entry_close(p);
    uint64_t target = p->closed.pos;
    p->flushing = true;
    p->later_lsn = 0;
    bool inherited = p->inherited;
    p->inherited = false;
    pthread_mutex_unlock(&p->lock);
    if (r == 0)
        r = flush_files(p, target, inherited, &refused);
    pthread_mutex_lock(&p->lock);
    p->flushing = false;
    if (r == 0 && p->sync_error) { /* a handle was taken away meanwhile, and its sync failed */
        r = p->sync_error;
        refused = true;
    }
    if (r == 0) {
        if (tlog_segment_find(p, p->synced) != tlog_segment_find(p, target)) /* a full segment is whole on disk now */
            tlog_ground_kick_maintain(p->ground);
        p->synced = target;
        if (p->durable < target)
            p->durable = target;
        if (p->journaled < target) {
            p->journaled = target;
            p->journaled_foff = 0;
        }
        p->first_lsn = p->later_lsn;
        p->urgent = false;
    } else {
        p->inherited = p->inherited || inherited;
    }
    if (refused && !p->deleted) {
        tlog_partition_fail(p, r);
        r = -EIO;
    }
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->flush_lock);
    return r;
}

/* ---- the journal ---- */

void tlog_marks_settle(struct tlog_partition *p)
{
    uint64_t synced = tlog_journal_synced(&p->ground->journal);
    if (p->sync_error || p->unlisted || atomic_load(&p->topic->unlisted)) /* no name is durable that leads to it */
        return;
    for (int i = 0; i < 2 && p->marks[0].lsn != 0 && p->marks[0].lsn <= synced; i++) {
        if (p->durable < p->marks[0].pos)
            p->durable = p->marks[0].pos;
        p->marks[0] = p->marks[1];
        p->marks[1].lsn = 0;
    }
}

static void add_mark(struct tlog_partition *p, uint64_t lsn)
{
    tlog_marks_settle(p);
    struct tlog_journal_mark *mark = &p->marks[p->marks[0].lsn != 0];
    *mark = (struct tlog_journal_mark){lsn, p->journaled};
}

/* Where in segment i's index the entries from `journaled` on are. The place is remembered for the active segment:
 * an fsync a line would spend more on looking for it than on all else but the disk. */
static int find_entries(struct tlog_partition *p, unsigned i, struct tlog_handle *handle, uint64_t *from, uint64_t *to)
{
    bool active = i + 1 == p->segment_count;
    struct tlog_io_stat idx = {.size_bytes = p->idx_bytes};
    const struct tlog_io *io = p->ground->io;
    int r = active ? 0 : io->stat(io, handle->idx_fd, &idx);
    *to = idx.size_bytes;
    *from = p->journaled_foff;
    if (r < 0 || (active && p->journaled_foff != 0))
        return r;
    struct tlog_scan scan = {.io = io,
                             .idx_fd = handle->idx_fd,
                             .segment_pos = p->segments[i].pos,
                             .idx_foff = TLOG_INDEX_HEADER_BYTES,
                             .idx_bytes = idx.size_bytes};
    r = tlog_scan_seek(&scan, p->journaled);
    *from = scan.idx_foff;
    return r;
}

/* Reads the entries of segment i that the journal does not have into `entries` (to be freed). */
static int read_entries(struct tlog_partition *p, unsigned i, uint8_t **entries, size_t *bytes)
{
    struct tlog_handle *handle;
    uint64_t from = 0, to = 0;
    int r = tlog_segment_open(p, i, &handle);
    if (r == 0)
        r = find_entries(p, i, handle, &from, &to);
    if (r < 0)
        return r;
    *bytes = (to - from) / TLOG_ENTRY_BYTES * TLOG_ENTRY_BYTES;
    *entries = malloc(*bytes + 1);
    if (!*entries)
        return -ENOMEM;
    ssize_t n = p->ground->io->pread(p->ground->io, handle->idx_fd, *entries, *bytes, from);
    return n < 0 ? (int)n : (size_t)n < *bytes ? -EIO : 0;
}

/* Writes [journaled, end of segment i or of the closed entries) to the journal. */
static int journal_segment(struct tlog_partition *p, unsigned i)
{
    uint64_t from = p->journaled, to = i + 1 < p->segment_count ? p->segments[i + 1].pos : p->closed.pos;
    uint8_t *entries = NULL, *data = malloc(to - from + 1);
    size_t entry_bytes = 0;
    struct tlog_handle *handle;
    const struct tlog_io *io = p->ground->io;
    int r = data ? read_entries(p, i, &entries, &entry_bytes) : -ENOMEM;
    if (r == 0)
        r = tlog_segment_open(p, i, &handle);
    if (r == 0) {
        ssize_t n = io->pread(io, handle->log_fd, data, to - from, from - p->segments[i].pos);
        r = n < 0 ? (int)n : (uint64_t)n < to - from ? -EIO : 0;
    }
    uint8_t head[16];
    tlog_put_u64(head, from);
    tlog_put_u32(head + 8, (uint32_t)(entry_bytes / TLOG_ENTRY_BYTES));
    tlog_put_u32(head + 12, 0);
    struct iovec parts[] = {{head, sizeof head}, {entries, entry_bytes}, {data, to - from}};
    uint64_t lsn;
    if (r == 0)
        r = tlog_journal_write(&p->ground->journal, TLOG_JOURNAL_APPEND, p->topic->id, p->number, parts, 3, &lsn);
    free(entries);
    free(data);
    if (r < 0)
        return r;
    p->journaled = to;
    p->journaled_foff = i + 1 == p->segment_count ? p->idx_bytes : 0;
    tlog_partition_needs(p, lsn);
    add_mark(p, lsn);
    return 0;
}

/* Writes what the journal does not have yet. Returns 1 when it is too much: sync the files instead. */
static int journal_tail(struct tlog_partition *p)
{
    int r = tlog_entry_close(p);
    uint64_t most = p->ground->journal.file_bytes / 4;
    if (most > TLOG_JOURNAL_APPEND_MOST)
        most = TLOG_JOURNAL_APPEND_MOST;
    if (r == 0 && p->closed.pos - p->journaled > most)
        return 1;
    while (r == 0 && p->journaled < p->closed.pos)
        r = journal_segment(p, tlog_segment_find(p, p->journaled));
    /* More entries than fit, no space for a journal file, or an index made anew whose entries end elsewhere. */
    return r == -EFBIG || r == -ENOSPC || r == -EDQUOT || r == -EBADMSG ? 1 : r;
}

void tlog_partition_sync(struct tlog_partition *partition, struct tlog_waiter *waiter)
{
    struct tlog_partition *p = partition;
    pthread_mutex_lock(&p->lock);
    int r = p->deleted ? -ESTALE : p->sync_error || atomic_load(&p->ground->failed) ? -EIO : 0;
    if (r == 0 && !p->ground->options.read_only)
        r = journal_tail(p);
    uint64_t lsn = p->rest_lsn;
    for (int i = 0; i < 2; i++)
        if (p->marks[i].lsn > lsn)
            lsn = p->marks[i].lsn;
    bool list = !p->ground->options.read_only && (p->unlisted || atomic_load(&p->topic->unlisted));
    pthread_mutex_unlock(&p->lock);
    if (r == 1) {
        r = tlog_partition_flush(p);
    } else if (r == 0 && list && is_refusal(r = tlog_partition_list(p))) {
        pthread_mutex_lock(&p->lock);
        tlog_partition_fail(p, r);
        pthread_mutex_unlock(&p->lock);
        r = -EIO;
    }
    if (r < 0 || lsn == 0)
        waiter->done(waiter, r);
    else
        tlog_journal_sync(&p->ground->journal, lsn, waiter);
}

static void start_sync(void *arg, struct tlog_waiter *waiter)
{
    tlog_partition_sync(arg, waiter);
}

int tlog_partition_sync_wait(struct tlog_partition *partition)
{
    return tlog_wait(start_sync, partition);
}
