/* Cutting all partitions at one instant.
 *
 * Now: appends wait at a gate while the ends are collected, one partition after the other, each under its own lock. An
 * append looks at the gate with its partition's lock held; so it is either before this partition's visit, and counted,
 * or finds the gate shut and waits until all have been visited. Appends pay a read of one flag for it, and no more than
 * two locks are ever held together.
 *
 * By time: what has an entry of a later time is cut off. Nobody needs to wait for that, since nothing is appended to the
 * past. */
#include <errno.h>
#include <stdlib.h>

#include "log/store.h"
#include "log/trim.h"

struct cutting {
    struct tlog_topic **topics;
    size_t topic_count;
    unsigned *partitions; /* of each topic; those that are added later are not cut */
    struct tlog_cut *cuts;
    size_t count;
};

/* Makes room for all cuts beforehand: pins must stay where they are in memory. */
static int prepare(struct tlog_store *store, struct cutting *cutting)
{
    size_t room = 0;
    int r = tlog_store_topics(store, &cutting->topics, &cutting->topic_count);
    if (r < 0)
        return r;
    cutting->partitions = calloc(cutting->topic_count + 1, sizeof *cutting->partitions);
    for (size_t i = 0; cutting->partitions && i < cutting->topic_count; i++) {
        cutting->partitions[i] = tlog_topic_partitions(cutting->topics[i]);
        room += cutting->partitions[i];
    }
    cutting->cuts = calloc(room + 1, sizeof *cutting->cuts);
    return cutting->partitions && cutting->cuts ? 0 : -ENOMEM;
}

/* Takes partition p as it is now. */
static void cut_partition(struct tlog_cut *cut, struct tlog_topic *topic, struct tlog_partition *p)
{
    pthread_mutex_lock(&p->lock);
    *cut = (struct tlog_cut){.topic = topic, .start = p->start, .end = p->end};
    cut->mtime_ns = p->set_mtime_end == p->end ? p->set_mtime_ns : p->last_append_ns;
    tlog_pin_locked(p, p->start, &cut->pin);
    pthread_mutex_unlock(&p->lock);
    atomic_fetch_add(&topic->head.refs, 1);
}

static void cut_topics(struct cutting *cutting)
{
    for (size_t i = 0; i < cutting->topic_count; i++) {
        struct tlog_topic *topic = cutting->topics[i];
        pthread_mutex_lock(&topic->head.lock);
        for (unsigned k = 0; k < cutting->partitions[i] && k < topic->partition_count; k++)
            if (topic->partitions[k])
                cut_partition(&cutting->cuts[cutting->count++], topic, topic->partitions[k]);
        pthread_mutex_unlock(&topic->head.lock);
    }
}

/* Moves the end back to before the first record after `time_ns`. */
static int cut_back(struct tlog_cut *cut, int64_t time_ns)
{
    struct tlog_partition *p = cut->pin.partition;
    struct tlog_entry entry;
    int r = tlog_partition_find_entry(p, TLOG_BY_TIME, (uint64_t)time_ns + 1, &entry);
    if (r < 0 || entry.length_bytes == 0 || entry.pos >= cut->end)
        return r;
    cut->end = entry.pos > cut->start ? entry.pos : cut->start; /* a trim meanwhile: nothing is left before it */
    if (cut->end > cut->start)
        r = tlog_partition_find_entry(p, TLOG_BY_POS, cut->end - 1, &entry);
    if (r == 0 && cut->end > cut->start && entry.length_bytes > 0)
        cut->mtime_ns = entry.time_ns;
    return r;
}

int tlog_store_cut(struct tlog_store *store, int64_t time_ns, struct tlog_cut **out, size_t *count)
{
    struct cutting cutting = {0};
    if (time_ns > tlog_ground_time_ns(&store->ground))
        return -EINVAL;
    pthread_mutex_lock(&store->ground.admin_lock); /* no topic is made, removed or renamed meanwhile */
    int r = prepare(store, &cutting);
    if (r == 0 && time_ns == 0)
        tlog_gate_shut(&store->ground, true);
    if (r == 0)
        cut_topics(&cutting);
    if (r == 0 && time_ns == 0)
        tlog_gate_shut(&store->ground, false);
    pthread_mutex_unlock(&store->ground.admin_lock);
    if (cutting.topics)
        tlog_topics_free(cutting.topics, cutting.topic_count);
    free(cutting.partitions);
    for (size_t i = 0; r == 0 && time_ns != 0 && i < cutting.count; i++)
        r = cut_back(&cutting.cuts[i], time_ns);
    if (r < 0) {
        tlog_cuts_free(cutting.cuts, cutting.count);
        return r;
    }
    *out = cutting.cuts;
    *count = cutting.count;
    return 0;
}

void tlog_cuts_free(struct tlog_cut *cuts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tlog_pin_release(&cuts[i].pin);
        tlog_topic_unref(cuts[i].topic);
    }
    free(cuts);
}
