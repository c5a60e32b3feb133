/* Upkeep: what happens by itself, later. Entries that have been open for 100 ms are closed, files synced after
 * flush.ms or flush.bytes, the checkpoint written after that, the journal's space given back, unfinished lines
 * that could not be appended tried again.
 *
 * A round that synced anything ends so: the journal is synced, the checkpoint says from which lsn on records
 * are needed (durably, before anything older is given up), and files of the journal that hold only older ones
 * become free. When the journal is short of space, the round flushes every dirty partition and carries the
 * unfinished lines over into the current file. */
#include <errno.h>
#include <stdlib.h>

#include "log/lock.h"
#include "log/store.h"

static const int64_t retry_ns = 1000000000;

static void sooner(int64_t *next_ns, int64_t in_ns)
{
    if (in_ns < 0)
        in_ns = 0;
    if (*next_ns < 0 || in_ns < *next_ns)
        *next_ns = in_ns;
}

/* Closes what is due, and says whether the files want syncing now. */
static bool look(struct tlog_partition *p, int64_t now_ns, bool all, int64_t *next_ns)
{
    int64_t flush_ns = tlog_value(p->topic, TLOG_FLUSH_MS) * 1000000;
    bool due = false;
    pthread_mutex_lock(&p->lock);
    if (p->sync_error && !p->failure_told) /* of files that were closed to make room */
        tlog_partition_fail(p, p->sync_error);
    if (tlog_partition_refuses(p) == 0) {
        if (p->open && p->open->entry.length_bytes > 0) {
            int64_t left_ns = p->open->opened_ns + TLOG_ENTRY_CLOSE_NS - now_ns;
            if (left_ns > 0)
                sooner(next_ns, left_ns);
            else if (tlog_entry_close(p) < 0)
                sooner(next_ns, retry_ns);
        }
        p->resting = !p->open || p->open->entry.length_bytes == 0;
        tlog_writers_retry(p);
        for (struct tlog_writer *writer = p->writers; writer; writer = writer->next)
            if (writer->closed)
                sooner(next_ns, retry_ns);
        p->idle = p->synced == p->end && !p->inherited && !p->files_unlisted && p->first_lsn == 0;
        if (!p->idle) {
            due = all || p->urgent || now_ns - p->dirty_since_ns >= flush_ns;
            if (!due)
                sooner(next_ns, p->dirty_since_ns + flush_ns - now_ns);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return due;
}

/* -EIO when a sync failed: nobody may be told that all of it is durable. */
static int doubtful(struct tlog_partition *p)
{
    pthread_mutex_lock(&p->lock);
    int r = p->sync_error && !p->deleted ? -EIO : 0;
    pthread_mutex_unlock(&p->lock);
    return r;
}

/* Whether upkeep is done with it; then it is no longer queued. */
static bool let_go(struct tlog_partition *p, int64_t now_ns, bool flushed)
{
    pthread_mutex_lock(&p->lock);
    bool clean = p->synced == p->end && !p->inherited && !p->files_unlisted && p->first_lsn == 0 && !p->writers;
    bool done = clean || p->deleted;
    if (done) {
        p->queued = false;
        tlog_reserve_release(p);
        free(p->open);
        p->open = NULL;
    } else if (flushed) {
        p->dirty_since_ns = now_ns;
    }
    pthread_mutex_unlock(&p->lock);
    return done;
}

static void take_over(struct tlog_store *store)
{
    pthread_mutex_lock(&store->ground.dirty_lock);
    struct tlog_partition *added = store->ground.dirty;
    store->ground.dirty = NULL;
    store->ground.kicked = false;
    pthread_mutex_unlock(&store->ground.dirty_lock);
    while (added) {
        struct tlog_partition *next = added->next_dirty;
        added->next_dirty = store->tended;
        store->tended = added;
        added = next;
    }
}

/* The oldest journal record that somebody needs; `fallback` when nobody needs any older than that. */
static uint64_t needed_lsn(struct tlog_store *store, uint64_t fallback)
{
    uint64_t needed = fallback;
    for (struct tlog_partition *p = store->tended; p; p = p->next_dirty) {
        pthread_mutex_lock(&p->lock);
        bool counts = !p->deleted && !p->damaged; /* the journal does not mend damage: it would be kept for ever */
        if (counts && p->first_lsn != 0 && p->first_lsn < needed)
            needed = p->first_lsn;
        for (struct tlog_writer *writer = p->writers; writer && counts; writer = writer->next)
            if (writer->first_lsn < needed)
                needed = writer->first_lsn;
        pthread_mutex_unlock(&p->lock);
    }
    return needed;
}

static void add_row(struct tlog_partition *p, struct tlog_checkpoint_row *row)
{
    pthread_mutex_lock(&p->lock);
    uint64_t start = p->start_next > p->start ? p->start_next : p->start;
    *row = (struct tlog_checkpoint_row){
        .partition = p->number,
        .failed = p->sync_error != 0,
        .synced = p->damaged ? p->claimed : p->synced,
        .end = p->end,
        .segment_pos = p->segment_count > 0 ? tlog_active(p)->pos : 0,
        .start = start,
        .start_seq = p->start_next > p->start ? p->start_next_seq : p->start_seq,
        .segments_hash = p->damaged ? 0 : tlog_segments_hash(p, start, UINT64_MAX),
        .log_inode = p->log_inode,
        .idx_inode = p->idx_inode,
    };
    memcpy(row->topic_id, p->topic->id, 16);
    pthread_mutex_unlock(&p->lock);
}

static int collect_rows(struct tlog_store *store, struct tlog_checkpoint *checkpoint)
{
    struct tlog_topic **topics;
    size_t count;
    int r = tlog_store_topics(store, &topics, &count);
    for (size_t i = 0; r == 0 && i < count; i++) {
        struct tlog_topic *topic = topics[i];
        pthread_mutex_lock(&topic->head.lock);
        struct tlog_checkpoint_row *grown =
            realloc(checkpoint->rows, (checkpoint->count + topic->partition_count + 1) * sizeof *grown);
        if (grown)
            checkpoint->rows = grown;
        else
            r = -ENOMEM;
        for (unsigned k = 0; r == 0 && k < topic->partition_count; k++)
            if (topic->partitions[k])
                add_row(topic->partitions[k], &checkpoint->rows[checkpoint->count++]);
        pthread_mutex_unlock(&topic->head.lock);
    }
    if (topics)
        tlog_topics_free(topics, count);
    return r;
}

static int write_checkpoint(struct tlog_store *store, uint64_t lsn)
{
    const struct tlog_io *io = store->ground.io;
    struct tlog_checkpoint checkpoint = {
        .lsn = lsn, .clock = tlog_clock_keep(&store->ground.clock, io->realtime_ns(io), io->boottime_ns(io))};
    memcpy(checkpoint.store_id, store->id, 16);
    memcpy(checkpoint.boot_id, store->boot_id, sizeof checkpoint.boot_id);
    int r = collect_rows(store, &checkpoint);
    if (r == 0)
        r = tlog_checkpoint_write(store->ground.io, store->ground.path, &checkpoint);
    free(checkpoint.rows);
    return r;
}

/* The end of a round, see above. `lsn`: the first that was given out after the round began. */
static int finish(struct tlog_store *store, uint64_t lsn, bool carry)
{
    int r = 0;
    for (struct tlog_partition *p = store->tended; carry && r == 0 && p; p = p->next_dirty) {
        pthread_mutex_lock(&p->lock);
        if (!p->deleted)
            r = tlog_writers_carry(p, lsn);
        pthread_mutex_unlock(&p->lock);
    }
    if (r == 0)
        r = tlog_journal_sync_wait(&store->ground.journal);
    uint64_t needed = needed_lsn(store, lsn);
    if (r == 0)
        r = write_checkpoint(store, needed);
    if (r == -ENOSPC || r == -EDQUOT) { /* the one before it still holds: nothing is lost, the journal is kept */
        if (!store->checkpoint_late)
            tlog_ground_note(&store->ground, "the checkpoint could not be written: %s; a start will read more",
                             strerror(-r));
        store->checkpoint_late = true;
        return 0;
    }
    if (r == 0) {
        store->checkpoint_late = false;
        tlog_journal_free(&store->ground.journal, needed);
        (void)tlog_journal_prepare(&store->ground.journal); /* a spare, while there is room: a start may need it */
    }
    return r;
}

static bool has_failed(struct tlog_partition *p)
{
    pthread_mutex_lock(&p->lock);
    bool failed = p->sync_error != 0 && !p->deleted;
    pthread_mutex_unlock(&p->lock);
    return failed;
}

/* One round; `all`: everything is flushed now. */
static int64_t tend(struct tlog_store *store, bool all, int *result)
{
    int64_t next_ns = -1, now_ns = store->ground.io->boottime_ns(store->ground.io);
    bool flushed = all, pressed = tlog_journal_pressed(&store->ground.journal);
    *result = 0;
    if (pressed)
        (void)tlog_journal_prepare(&store->ground.journal);
    uint64_t lsn = tlog_journal_last(&store->ground.journal) + 1;
    take_over(store);
    struct tlog_partition **link = &store->tended;
    while (*link) {
        struct tlog_partition *p = *link;
        bool due = look(p, now_ns, all || pressed, &next_ns);
        if (all && *result == 0)
            *result = doubtful(p);
        if (due) {
            int r = tlog_partition_flush(p);
            if (r < 0 && r != -ESTALE && *result == 0)
                *result = r;
            if (r < 0)
                sooner(&next_ns, retry_ns);
            flushed = true;
        }
        if (all && *result == 0 && has_failed(p))
            *result = -EIO;
        struct tlog_partition *next = p->next_dirty; /* let go, it may be made dirty anew at once */
        if (let_go(p, now_ns, due)) {
            *link = next;
            tlog_partition_unref(p);
        } else {
            link = &p->next_dirty;
            if (due) /* appended to meanwhile: nobody else will ask for that */
                sooner(&next_ns, tlog_value(p->topic, TLOG_FLUSH_MS) * 1000000);
        }
    }
    /* A late checkpoint is tried again: until there is one of this boot, a kill counts as a power cut. */
    if (store->recovering && *result < 0) {
        /* The checkpoint stays as it is: past its `synced` the next start looks for lines that ended rests here. */
    } else if (flushed || pressed || store->checkpoint_late) {
        int r = finish(store, lsn, all || pressed);
        if (r < 0 && *result == 0)
            *result = r;
        if (store->checkpoint_late || (r < 0 && tlog_journal_pressed(&store->ground.journal)))
            sooner(&next_ns, retry_ns);
    }
    return next_ns;
}

int64_t tlog_store_upkeep(struct tlog_store *store)
{
    int result;
    if (store->ground.options.read_only || atomic_load(&store->ground.failed))
        return -1;
    pthread_mutex_lock(&store->round_lock);
    int64_t next_ns = tend(store, false, &result);
    pthread_mutex_unlock(&store->round_lock);
    return next_ns;
}

int tlog_upkeep_flush_all(struct tlog_store *store)
{
    int result;
    if (atomic_load(&store->ground.failed))
        return -EIO;
    pthread_mutex_lock(&store->round_lock);
    (void)tend(store, true, &result);
    pthread_mutex_unlock(&store->round_lock);
    return result;
}

int tlog_store_sync(struct tlog_store *store)
{
    return store->ground.options.read_only ? 0 : tlog_upkeep_flush_all(store);
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    struct tlog_store *store = arg;
    for (;;) {
        int64_t next_ns = tlog_store_upkeep(store);
        pthread_mutex_lock(&store->ground.dirty_lock);
        while (!store->ground.kicked && !store->stopping &&
               tlog_cond_wait(&store->ground.wake, &store->ground.dirty_lock, next_ns) != ETIMEDOUT)
            ;
        bool stop = store->stopping;
        pthread_mutex_unlock(&store->ground.dirty_lock);
        if (stop)
            return NULL;
    }
}

int tlog_upkeep_start(struct tlog_store *store)
{
    int r = pthread_create(&store->upkeep, NULL, run, store);
    store->upkeep_runs = r == 0;
    return -r;
}

void tlog_upkeep_stop(struct tlog_store *store)
{
    if (!store->upkeep_runs)
        return;
    pthread_mutex_lock(&store->ground.dirty_lock);
    store->stopping = true;
    pthread_cond_signal(&store->ground.wake);
    pthread_mutex_unlock(&store->ground.dirty_lock);
    pthread_join(store->upkeep, NULL);
    store->upkeep_runs = false;
}

void tlog_upkeep_release(struct tlog_store *store)
{
    take_over(store);
    while (store->tended) {
        struct tlog_partition *p = store->tended;
        store->tended = p->next_dirty;
        tlog_partition_unref(p);
    }
}
