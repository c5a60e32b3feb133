/* Verification of a whole store at rest: every byte against its chain. Segments are verified by themselves, several at
 * a time; that each goes on from the one before is seen, and all damage told, in their order. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "log/error.h"
#include "log/lock.h"
#include "log/store.h"
#include "log/verify_segment.h"

static const int64_t progress_ns = 200000000;
static const uint64_t slow_bytes = 64 << 20; /* somebody may want to see it go on */
enum { THREADS_MOST = 8 };

struct verify {
    struct tlog_verify_ground ground;
    unsigned threads; /* 0: none of its own */
    const char *topic_name;
    struct tlog_verify *out;
    void (*damage)(void *arg, const char *line);
    void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
    void *arg;
    uint64_t total_bytes;
};

static void damage(struct verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void damage(struct verify *v, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    v->out->damages++;
    if (v->damage)
        v->damage(v->arg, line);
}

static void tell_progress(struct verify *v)
{
    if (v->progress)
        v->progress(v->arg, atomic_load_explicit(&v->ground.done_bytes, memory_order_relaxed), v->total_bytes);
}

/* ---- the segments of a partition ---- */

struct segments {
    struct tlog_verify_segment *all;
    unsigned count;
    uint64_t bytes;
    pthread_mutex_t lock; /* guards these, and each `done` */
    pthread_cond_t finished;
    unsigned next;
    bool stop;
};

static void *work(void *arg)
{
    struct segments *segments = arg;
    pthread_mutex_lock(&segments->lock);
    while (!segments->stop && segments->next < segments->count) {
        struct tlog_verify_segment *segment = &segments->all[segments->next++];
        pthread_mutex_unlock(&segments->lock);
        tlog_verify_segment(segment);
        pthread_mutex_lock(&segments->lock);
        segment->done = true;
        pthread_cond_signal(&segments->finished);
    }
    pthread_mutex_unlock(&segments->lock);
    return NULL;
}

/* Whether the segment goes on from where the log stands; the first one stands on its own header. */
static void check_header(struct verify *v, const struct tlog_verify_segment *s, bool first, const struct tlog_point *at,
                         const struct tlog_point *header, const char *suffix)
{
    char name[TLOG_VERIFY_NAME_BYTES];
    tlog_verify_segment_name(s, suffix, name);
    if (first && header->pos == 0 && header->chain != tlog_root_chain(s->topic->id, s->partition))
        damage(v, "%s: belongs to another partition", name);
    else if (!first && at->pos == s->pos && (at->chain != header->chain || at->seq != header->seq))
        damage(v, "%s: does not go on from the segment before it", name);
}

/* Takes over what was found in a segment. `at`: where the log stands. */
static int take(struct verify *v, struct tlog_verify_segment *s, bool first, struct tlog_point *at)
{
    struct tlog_verify *out = v->out;
    const struct tlog_verify *found = &s->found;
    char name[TLOG_VERIFY_NAME_BYTES];
    bool headed = s->has_raw_header || s->has_sealed_header;
    if (headed && !first && at->pos != s->pos) {
        tlog_verify_segment_name(s, s->forms & TLOG_RAW ? "log" : "zst", name);
        damage(v, "%s: bytes from %" PRIu64 " to %" PRIu64 " are missing before it", name, at->pos, s->pos);
    }
    if (s->has_raw_header)
        check_header(v, s, first, at, &s->raw_header, "idx");
    if (s->has_sealed_header)
        check_header(v, s, first, at, &s->sealed_header, "zst");
    for (char *line = s->damage, *end; line && (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        if (v->damage)
            v->damage(v->arg, line);
    }
    out->segments += found->segments;
    out->entries += found->entries;
    out->records += found->records;
    out->bytes += found->bytes;
    out->unindexed_bytes += found->unindexed_bytes;
    out->torn_bytes += found->torn_bytes;
    out->damages += found->damages;
    if (s->has_end)
        *at = s->end;
    return s->result;
}

/* Waits for segment i, or does it. */
static void await(struct verify *v, struct segments *segments, unsigned i, bool alone)
{
    if (alone) {
        tlog_verify_segment(&segments->all[i]);
        tell_progress(v);
        return;
    }
    pthread_mutex_lock(&segments->lock);
    while (!segments->all[i].done) {
        (void)tlog_cond_wait(&segments->finished, &segments->lock, progress_ns);
        pthread_mutex_unlock(&segments->lock);
        tell_progress(v);
        pthread_mutex_lock(&segments->lock);
    }
    pthread_mutex_unlock(&segments->lock);
}

static int verify_segments(struct verify *v, struct segments *segments)
{
    pthread_t threads[THREADS_MOST];
    unsigned running = 0, wanted = v->threads < segments->count ? v->threads : segments->count;
    struct tlog_point at = {0};
    int r = 0;
    pthread_mutex_init(&segments->lock, NULL);
    tlog_cond_init(&segments->finished);
    bool alone = wanted < 2 && !(v->progress && segments->bytes > slow_bytes);
    while (!alone && running < wanted && pthread_create(&threads[running], NULL, work, segments) == 0)
        running++;
    for (unsigned i = 0; r == 0 && i < segments->count; i++) {
        await(v, segments, i, running == 0);
        r = take(v, &segments->all[i], i == 0, &at);
    }
    pthread_mutex_lock(&segments->lock);
    segments->stop = true;
    pthread_mutex_unlock(&segments->lock);
    for (unsigned i = 0; i < running; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&segments->lock);
    pthread_cond_destroy(&segments->finished);
    return r;
}

static int verify_partition(struct verify *v, struct tlog_partition *p)
{
    bool raw = tlog_value(p->topic, TLOG_MESSAGE_FORMAT) == TLOG_FORMAT_RAW;
    struct segments segments = {
        .all = calloc(p->segment_count, sizeof *segments.all), .count = p->segment_count, .bytes = p->end - p->start};
    if (!segments.all)
        return -ENOMEM;
    for (unsigned i = 0; i < p->segment_count; i++)
        segments.all[i] = (struct tlog_verify_segment){
            .ground = &v->ground,
            .topic = p->topic,
            .partition = p->number,
            .pos = p->segments[i].pos,
            .forms = p->segments[i].forms,
            .last = i + 1 == p->segment_count && !(p->segments[i].forms & TLOG_SEALED),
            .raw = raw,
        };
    v->out->partitions++;
    int r = verify_segments(v, &segments);
    for (unsigned i = 0; i < segments.count; i++)
        free(segments.all[i].damage);
    free(segments.all);
    return r;
}

/* ---- the store ---- */

static unsigned processors(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > THREADS_MOST ? THREADS_MOST : (unsigned)count;
}

static int verify_topics(struct verify *v, struct tlog_store *store)
{
    bool found = false;
    int r = 0;
    for (size_t i = 0; i < store->topic_count; i++)
        for (unsigned k = 0; k < store->topics[i]->partition_count; k++)
            if (store->topics[i]->partitions[k])
                v->total_bytes += store->topics[i]->partitions[k]->end - store->topics[i]->partitions[k]->start;
    for (size_t i = 0; r == 0 && i < store->topic_count; i++) {
        struct tlog_topic *topic = store->topics[i];
        if (v->topic_name && strcmp(topic->head.name, v->topic_name) != 0)
            continue;
        found = true;
        v->out->topics++;
        for (unsigned k = 0; r == 0 && k < topic->partition_count; k++)
            if (topic->partitions[k])
                r = verify_partition(v, topic->partitions[k]);
    }
    return r == 0 && v->topic_name && !found ? -ENOENT : r;
}

static int hold_lock(const char *path, int *fd)
{
    char lock[TLOG_NAME_BYTES];
    snprintf(lock, sizeof lock, "%s/LOCK", path);
    *fd = tlog_io_posix.open(&tlog_io_posix, lock, TLOG_IO_WRITE);
    return *fd < 0 ? 0 : tlog_io_posix.lock(&tlog_io_posix, *fd); /* a copy may have none */
}

int tlog_verify(const char *path, const char *topic, void (*damaged)(void *arg, const char *line),
                void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes), void *arg,
                struct tlog_verify *out, struct tlog_error *error)
{
    struct tlog_options options = {.read_only = true};
    return tlog_verify_with(&options, path, topic, damaged, progress, arg, out, error);
}

int tlog_verify_with(const struct tlog_options *options, const char *path, const char *topic,
                     void (*damaged)(void *arg, const char *line),
                     void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes), void *arg,
                     struct tlog_verify *out, struct tlog_error *error)
{
    struct tlog_store *store;
    struct verify v = {.ground = {.io = options->io ? options->io : &tlog_io_posix, .path = path},
                       .threads = options->io ? 0 : processors(),
                       .topic_name = topic,
                       .out = out,
                       .damage = damaged,
                       .progress = progress,
                       .arg = arg};
    char boot_id[64] = "";
    int lock = -1;
    memset(out, 0, sizeof *out);
    int r = options->io ? 0 : hold_lock(path, &lock);
    if (r < 0) {
        tlog_error_set(error, "%s: %s", path, r == -EWOULDBLOCK ? "another process has it open" : strerror(-r));
        return r;
    }
    r = tlog_store_open(&store, path, options, error);
    if (r == 0) {
        int c = tlog_checkpoint_read(v.ground.io, path, &v.ground.checkpoint);
        if (c == -EBADMSG)
            damage(&v, "checkpoint: damaged");
        (void)v.ground.io->boot_id(v.ground.io, boot_id);
        v.ground.other_boot = c < 0 || strcmp(v.ground.checkpoint.boot_id, boot_id) != 0;
        r = verify_topics(&v, store);
        if (r < 0)
            tlog_error_set(error, "%s: %s", topic ? topic : path, r == -ENOENT ? "no such topic" : strerror(-r));
        free(v.ground.checkpoint.rows);
        (void)tlog_store_close(store, NULL);
    }
    if (lock >= 0)
        tlog_io_posix.close(&tlog_io_posix, lock);
    return r;
}
