/* A partition: its segments, bounds and references. */
#include "log/partition.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/partition.h"

/* ---- names and new segments ---- */

void tlog_topic_dir(const struct tlog_topic_head *topic, char to[TLOG_NAME_BYTES])
{
    snprintf(to, TLOG_NAME_BYTES, "%s/topics/%s", topic->ground->path, topic->name);
}

void tlog_partition_dir(const struct tlog_partition *p, char to[TLOG_NAME_BYTES])
{
    snprintf(to, TLOG_NAME_BYTES, "%s/topics/%s/%u", p->ground->path, p->topic->name, p->number);
}

void tlog_segment_path(const struct tlog_partition *p, uint64_t pos, char to[TLOG_NAME_BYTES])
{
    char dir[TLOG_NAME_BYTES];
    tlog_partition_dir(p, dir);
    if (snprintf(to, TLOG_NAME_BYTES, "%s/%020" PRIu64, p->trash ? p->trash : dir, pos) >= TLOG_NAME_BYTES)
        to[TLOG_NAME_BYTES - 1] = 0;
}

static int make_files(struct tlog_partition *p, const char *path, struct tlog_handle **owner)
{
    struct tlog_index_header header = {
        .pos = p->closed.pos, .seq = p->closed.seq, .chain = p->closed.chain, .time_ns = p->closed.time_ns};
    uint8_t bytes[TLOG_INDEX_HEADER_BYTES];
    memcpy(header.topic_id, p->topic->id, 16);
    tlog_index_header_encode(bytes, &header);
    int r = tlog_handles_open(&p->ground->handles, path, TLOG_IO_WRITE | TLOG_IO_CREATE | TLOG_IO_TRUNCATE, owner,
                              &p->lock, &p->sync_error);
    if (r < 0)
        return r;
    struct iovec part = {bytes, sizeof bytes};
    r = p->ground->io->pwritev(p->ground->io, (*owner)->idx_fd, &part, 1, 0);
    p->inherited = true; /* not the handle's affair: nothing was appended yet */
    return r;
}

/* The journal is told which files are of this boot, so that a restart in it may believe them. */
static int tell_journal(struct tlog_partition *p, const struct tlog_handle *handle)
{
    struct tlog_io_stat log, idx;
    uint8_t body[24];
    uint64_t lsn;
    const struct tlog_io *io = p->ground->io;
    int r = io->stat(io, handle->log_fd, &log);
    if (r == 0)
        r = io->stat(io, handle->idx_fd, &idx);
    if (r < 0)
        return r;
    tlog_put_u64(body, p->closed.pos);
    tlog_put_u64(body + 8, log.inode);
    tlog_put_u64(body + 16, idx.inode);
    struct iovec part = {body, sizeof body};
    tlog_partition_dirtied(p); /* before the record is written: upkeep must know who needs it */
    r = tlog_journal_write(&p->ground->journal, TLOG_JOURNAL_FILES, p->topic->id, p->number, &part, 1, &lsn);
    if (r < 0)
        return r;
    tlog_partition_needs(p, lsn);
    p->log_inode = log.inode;
    p->idx_inode = idx.inode;
    return 0;
}

int tlog_segment_make(struct tlog_partition *p)
{
    char path[TLOG_NAME_BYTES], name[TLOG_NAME_BYTES + 8];
    struct tlog_handle *handle = NULL;
    tlog_segment_path(p, p->closed.pos, path);
    int r = make_files(p, path, &handle);
    if (r == 0)
        r = tell_journal(p, handle);
    if (r == 0)
        r = tlog_segment_add(p, p->closed.pos, p->closed.seq, TLOG_RAW);
    if (r < 0) {
        tlog_handles_close(&p->ground->handles, &handle);
        snprintf(name, sizeof name, "%s.log", path);
        p->ground->io->unlink(p->ground->io, name);
        snprintf(name, sizeof name, "%s.idx", path);
        p->ground->io->unlink(p->ground->io, name);
        /* The log may go on past here in the segment before: a power cut must not bring this one back. */
        tlog_partition_dir(p, path);
        (void)p->ground->io->sync_dir(p->ground->io, path);
        return r;
    }
    tlog_active(p)->handle = handle;
    tlog_handle_moved(&tlog_active(p)->handle);
    p->idx_bytes = TLOG_INDEX_HEADER_BYTES;
    p->segment_first_ns = 0;
    p->reserved_log = p->reserved_idx = 0;
    p->journaled_foff = 0;
    p->files_unlisted = true;
    return 0;
}

/* ---- life ---- */

int tlog_partition_new(struct tlog_partition **out, struct tlog_topic_head *topic, uint32_t number)
{
    struct tlog_partition *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->ground = topic->ground;
    p->topic = topic;
    p->number = number;
    p->log = atomic_fetch_add(&p->ground->logs, 1);
    p->set_mtime_end = p->sealed_start = UINT64_MAX;
    atomic_init(&p->refs, 1);
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->flush_lock, NULL);
    *out = p;
    return 0;
}

void tlog_partition_free(struct tlog_partition *p)
{
    for (unsigned i = 0; i < p->segment_count; i++) {
        pthread_mutex_lock(&p->lock);
        tlog_handles_close(&p->ground->handles, &p->segments[i].handle);
        pthread_mutex_unlock(&p->lock);
    }
    while (p->writers) {
        struct tlog_writer *writer = p->writers;
        p->writers = writer->next;
        free(writer->held);
        free(writer);
    }
    free(p->segments);
    free(p->open);
    free(p->trash);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->flush_lock);
    free(p);
}

void tlog_partition_stand(struct tlog_partition *p, const struct tlog_point *at, uint64_t idx_bytes)
{
    p->closed = *at;
    p->idx_bytes = idx_bytes;
    p->end = at->pos;
    p->end_seq = at->seq;
    p->last_append_ns = p->changed_ns = at->time_ns;
    atomic_store(&p->committed, at->pos);
}

int tlog_partition_make(struct tlog_partition *p, const struct tlog_point *start)
{
    char dir[TLOG_NAME_BYTES];
    const struct tlog_io *io = p->ground->io;
    tlog_partition_dir(p, dir);
    int made = io->mkdir(io, dir);
    if (made < 0 && made != -EEXIST)
        return made;
    tlog_partition_stand(p, start, 0);
    p->synced = p->durable = p->journaled = start->pos;
    p->start = start->pos;
    p->start_seq = start->seq;
    p->unlisted = true;
    if (p->last_append_ns == 0)
        p->last_append_ns = p->changed_ns = tlog_ground_time_ns(p->ground);
    int r = tlog_segment_make(p);
    if (r < 0 && made == 0)
        io->rmdir(io, dir);
    return r;
}

/* A reference from outside holds the topic too; the topic's own table does not, or neither would ever go. */
struct tlog_partition *tlog_partition_ref(struct tlog_partition *partition)
{
    atomic_fetch_add_explicit(&partition->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&partition->topic->refs, 1, memory_order_relaxed);
    return partition;
}

void tlog_partition_unref(struct tlog_partition *partition)
{
    if (!partition)
        return;
    struct tlog_topic_head *topic = partition->topic;
    tlog_partition_put(partition);
    tlog_topic_head_unref(topic);
}

void tlog_topic_head_unref(struct tlog_topic_head *topic)
{
    if (atomic_fetch_sub(&topic->refs, 1) == 1)
        topic->free(topic);
}

void tlog_partition_put(struct tlog_partition *p)
{
    if (atomic_fetch_sub(&p->refs, 1) == 1)
        tlog_partition_free(p);
}

/* ---- what it tells ---- */

uint32_t tlog_partition_number(const struct tlog_partition *partition)
{
    return partition->number;
}

void tlog_partition_set_user(struct tlog_partition *partition, void *user)
{
    partition->user = user;
}

void *tlog_partition_user(const struct tlog_partition *partition)
{
    return partition->user;
}

uint64_t tlog_partition_committed(struct tlog_partition *partition)
{
    return atomic_load_explicit(&partition->committed, memory_order_acquire);
}

void tlog_partition_watch(struct tlog_partition *partition, bool on)
{
    atomic_fetch_add(&partition->watched, on ? 1 : -1);
}

/* What du counts. Appends allocate by the page; asking the filesystem for each stat would cost more. */
uint64_t tlog_active_disk_bytes(const struct tlog_partition *p)
{
    uint64_t log = p->end - p->segments[p->segment_count - 1].pos;
    if (log < p->reserved_log)
        log = p->reserved_log;
    return ((log + 4095) & ~(uint64_t)4095) + ((p->idx_bytes + 4095) & ~(uint64_t)4095);
}

void tlog_partition_bounds(struct tlog_partition *partition, struct tlog_bounds *out)
{
    struct tlog_partition *p = partition;
    pthread_mutex_lock(&p->lock);
    tlog_marks_settle(p);
    *out = (struct tlog_bounds){
        .start = p->start,
        .end = p->end,
        .committed = p->end,
        .durable = p->durable,
        .start_seq = p->start_seq,
        .end_seq = p->end_seq,
        .pending = p->pending,
        .disk_bytes = p->closed_disk_bytes + tlog_active_disk_bytes(p),
        .mtime_ns = p->set_mtime_end == p->end ? p->set_mtime_ns : p->last_append_ns,
        .ctime_ns = p->changed_ns,
        .chain = p->closed.chain,
        .epoch = p->closed.epoch,
        .leader = p->closed.leader,
        .failed = p->sync_error != 0 || atomic_load(&p->ground->failed),
        .damaged = p->damaged,
        .segments = p->segment_count - tlog_segment_first(p),
        .sealed_bytes = tlog_partition_sealed_bytes(p),
        .deleted = p->deleted,
    };
    pthread_mutex_unlock(&p->lock);
}

/* ---- modes and owners ---- */

/* In force, with the locks of the topic and the partition. */
static struct tlog_attr attr_of(const struct tlog_partition *p)
{
    const struct tlog_attr *topic = &p->topic->attr;
    return p->attr_own ? p->attr : (struct tlog_attr){topic->mode & 0666, topic->uid, topic->gid};
}

void tlog_partition_attr(struct tlog_partition *partition, struct tlog_attr *out)
{
    pthread_mutex_lock(&partition->topic->lock);
    pthread_mutex_lock(&partition->lock);
    *out = attr_of(partition);
    pthread_mutex_unlock(&partition->lock);
    pthread_mutex_unlock(&partition->topic->lock);
}

static int write_attr(struct tlog_partition *p, const struct tlog_attr *attr, int64_t mtime_ns, uint64_t mtime_end)
{
    char dir[TLOG_NAME_BYTES];
    int r = p->deleted ? -ESTALE : p->ground->options.read_only ? -EROFS : 0;
    if (r < 0)
        return r;
    tlog_partition_dir(p, dir);
    r = tlog_attr_write(p->ground->io, dir, attr, mtime_ns, mtime_end);
    if (r < 0)
        return r;
    p->attr = *attr;
    p->attr_own = true;
    p->set_mtime_ns = mtime_ns;
    p->set_mtime_end = mtime_end;
    p->changed_ns = tlog_ground_time_ns(p->ground);
    return 0;
}

int tlog_partition_set_attr(struct tlog_partition *partition, const struct tlog_attr *attr)
{
    pthread_mutex_lock(&partition->lock);
    int r = write_attr(partition, attr, partition->set_mtime_ns, partition->set_mtime_end);
    pthread_mutex_unlock(&partition->lock);
    return r;
}

int tlog_partition_set_mtime(struct tlog_partition *partition, int64_t mtime_ns)
{
    pthread_mutex_lock(&partition->topic->lock);
    pthread_mutex_lock(&partition->lock);
    struct tlog_attr attr = attr_of(partition);
    int r = write_attr(partition, &attr, mtime_ns, partition->end);
    pthread_mutex_unlock(&partition->lock);
    pthread_mutex_unlock(&partition->topic->lock);
    return r;
}

int tlog_partition_keep_attr(struct tlog_partition *p)
{
    pthread_mutex_lock(&p->lock);
    struct tlog_attr attr = attr_of(p);
    int r = p->attr_own ? 0 : write_attr(p, &attr, 0, UINT64_MAX);
    pthread_mutex_unlock(&p->lock);
    return r;
}

/* ---- refusing ---- */

int tlog_partition_refuses(const struct tlog_partition *p)
{
    if (p->deleted)
        return -ESTALE;
    if (p->sync_error || p->damaged || p->ground->options.read_only || atomic_load(&p->ground->failed))
        return -EROFS;
    return 0;
}

void tlog_partition_fail(struct tlog_partition *p, int error)
{
    char dir[TLOG_NAME_BYTES];
    static const char text[] = "an fsync of this partition failed; a restart writes it anew\n";
    (void)tlog_entry_close(p); /* a restart believes after this what a chain vouches for, and no more */
    p->sync_error = error;
    p->failure_told = true;
    if (p->deleted) /* its name may be another's by now */
        return;
    tlog_partition_dir(p, dir);
    int r = tlog_file_mark(p->ground->io, dir, "failed", text);
    tlog_ground_note(p->ground, "%s/%u: fsync: %s: read-only until a restart%s", p->topic->name, p->number,
                     strerror(-error), r < 0 ? " (and this could not be marked on disk)" : "");
}

/* ---- for upkeep ---- */

void tlog_partition_dirtied(struct tlog_partition *p)
{
    struct tlog_ground *ground = p->ground;
    if (!p->urgent && p->end - p->synced >= (uint64_t)tlog_value(p->topic, TLOG_FLUSH_BYTES)) {
        p->urgent = true;
        tlog_ground_kick(ground);
    }
    if (p->queued) { /* upkeep sleeps as long as it thought right when it looked */
        bool opened = p->resting && p->open && p->open->entry.length_bytes > 0;
        if (p->idle)
            p->dirty_since_ns = ground->io->boottime_ns(ground->io);
        if (p->idle || opened)
            tlog_ground_kick(ground);
        p->resting = p->resting && !opened;
        p->idle = false;
        return;
    }
    p->queued = true;
    p->resting = p->idle = false;
    p->dirty_since_ns = ground->io->boottime_ns(ground->io);
    tlog_partition_ref(p);
    pthread_mutex_lock(&ground->dirty_lock);
    p->next_dirty = ground->dirty;
    ground->dirty = p;
    ground->kicked = true;
    pthread_cond_signal(&ground->wake);
    pthread_mutex_unlock(&ground->dirty_lock);
}
