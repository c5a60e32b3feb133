/* Maintenance: the slow work in the background. What it does for a partition, in this order: what retention no longer
 * keeps is trimmed, what has been trimmed and is not pinned goes, an active segment that is old enough is rolled, raw
 * files that have lingered are removed, full segments are sealed.
 *
 * A round first does all that is quick, for all partitions, and then seals one segment after the other; sealing takes
 * seconds, so the quick part is done again in between when somebody asks or a second has passed. It has a thread of its
 * own, which runs only when nobody else wants the processor: nothing else ever waits for it but the close of the store,
 * and it stops within a frame's time then. */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log/lock.h"
#include "log/retention.h"
#include "log/seal.h"
#include "log/store.h"
#include "log/trim.h"

static const int64_t quick_ns = 1000000000;

static void sooner(int64_t *next_ns, int64_t in_ns)
{
    if (in_ns >= 0 && (*next_ns < 0 || in_ns < *next_ns))
        *next_ns = in_ns;
}

/* Calls `each` for every partition, with a reference and no lock. */
static void for_partitions(struct tlog_store *store, void (*each)(void *arg, struct tlog_partition *p), void *arg)
{
    struct tlog_topic **topics;
    size_t count;
    if (tlog_store_topics(store, &topics, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        unsigned partitions = tlog_topic_partitions(topics[i]);
        for (unsigned k = 0; k < partitions && !tlog_ground_stopping(&store->ground); k++) {
            struct tlog_partition *p = tlog_partition_get(topics[i], k);
            if (p)
                each(arg, p);
            tlog_partition_unref(p);
        }
    }
    tlog_topics_free(topics, count);
}

/* ---- a round ---- */

struct round {
    struct tlog_store *store;
    int64_t next_ns;      /* until something quick is due */
    int64_t next_seal_ns; /* until a failed sealing is tried again */
    uint64_t unsealed;    /* full segments that wait */
    int64_t unsealed_ns;  /* when the oldest of them ended */
    bool again;           /* somebody asked while segments were being sealed */
    int64_t quick_at_ns;  /* CLOCK_BOOTTIME: when the quick part was last done */
};

/* Counts what waits to be sealed. */
static void count_unsealed(struct round *round, struct tlog_partition *p)
{
    int64_t ended_ns;
    unsigned count = tlog_partition_unsealed(p, &ended_ns);
    round->unsealed += count;
    if (count > 0 && (round->unsealed_ns == 0 || ended_ns < round->unsealed_ns))
        round->unsealed_ns = ended_ns;
}

static void tell_unsealed(const struct round *round)
{
    struct tlog_ground *ground = &round->store->ground;
    pthread_mutex_lock(&ground->dirty_lock);
    ground->unsealed_segments = round->unsealed;
    ground->unsealed_ns = round->unsealed_ns;
    pthread_mutex_unlock(&ground->dirty_lock);
}

/* What is quick. Each step returns the nanoseconds until it wants to be called again, -1 for never. */
static void tend(void *arg, struct tlog_partition *p)
{
    struct round *round = arg;
    sooner(&round->next_ns, tlog_partition_retain(p));
    sooner(&round->next_ns, tlog_partition_drop(p));
    sooner(&round->next_ns, tlog_partition_age(p));
    sooner(&round->next_ns, tlog_partition_unlinger(p));
    count_unsealed(round, p);
}

static void tend_all(struct round *round)
{
    struct tlog_ground *ground = &round->store->ground;
    pthread_mutex_lock(&ground->dirty_lock);
    ground->maintain_kicked = false;
    pthread_mutex_unlock(&ground->dirty_lock);
    round->next_ns = -1;
    round->unsealed = 0;
    round->unsealed_ns = 0;
    round->quick_at_ns = ground->io->boottime_ns(ground->io);
    for_partitions(round->store, tend, round);
    tell_unsealed(round);
}

static bool quick_is_due(struct round *round)
{
    struct tlog_ground *ground = &round->store->ground;
    pthread_mutex_lock(&ground->dirty_lock);
    bool kicked = ground->maintain_kicked;
    pthread_mutex_unlock(&ground->dirty_lock);
    round->again = round->again || kicked; /* perhaps for a partition whose turn has been */
    return kicked || ground->io->boottime_ns(ground->io) - round->quick_at_ns >= quick_ns;
}

static void seal(void *arg, struct tlog_partition *p)
{
    struct round *round = arg;
    int64_t again_ns;
    while ((again_ns = tlog_partition_seal(p)) == 0 && !tlog_ground_stopping(p->ground)) {
        sooner(&round->next_ns, tlog_partition_unlinger(p));
        if (round->unsealed > 0 && --round->unsealed == 0)
            round->unsealed_ns = 0;
        tell_unsealed(round);
        if (quick_is_due(round))
            tend_all(round);
    }
    sooner(&round->next_seal_ns, again_ns);
}

int64_t tlog_store_maintain(struct tlog_store *store)
{
    struct round round = {.store = store, .next_seal_ns = -1};
    if (store->ground.options.read_only || atomic_load(&store->ground.failed))
        return -1;
    pthread_mutex_lock(&store->maintain_lock);
    tend_all(&round);
    sooner(&round.next_ns, tlog_store_expire(store));
    for_partitions(store, seal, &round);
    pthread_mutex_unlock(&store->maintain_lock);
    sooner(&round.next_ns, round.next_seal_ns);
    sooner(&round.next_ns, round.again ? 0 : -1);
    return round.next_ns;
}

/* ---- the thread ---- */

/* Whoever else wants the processor or the disk (whose priority follows) has ten times as much of it. Not less, and not
 * SCHED_IDLE: this thread takes locks, for moments, which it would hold for as long as others have something to do; and
 * a machine that is always busy would never seal, and fill its disk. */
static void stand_back(void)
{
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
}

static void *run(void *arg)
{
    struct tlog_store *store = arg;
    struct tlog_ground *ground = &store->ground;
    stand_back();
    for (;;) {
        int64_t next_ns = tlog_store_maintain(store);
        if (next_ns < 0 || next_ns > TLOG_MAINTAIN_LOOK_NS)
            next_ns = TLOG_MAINTAIN_LOOK_NS;
        pthread_mutex_lock(&ground->dirty_lock);
        while (!ground->maintain_kicked && !tlog_ground_stopping(ground) &&
               tlog_cond_wait(&ground->wake_maintain, &ground->dirty_lock, next_ns) != ETIMEDOUT)
            ;
        pthread_mutex_unlock(&ground->dirty_lock);
        if (tlog_ground_stopping(ground))
            return NULL;
    }
}

int tlog_maintain_start(struct tlog_store *store)
{
    int r = pthread_create(&store->maintain, NULL, run, store);
    store->maintain_runs = r == 0;
    return -r;
}

void tlog_maintain_stop(struct tlog_store *store)
{
    pthread_mutex_lock(&store->ground.dirty_lock);
    atomic_store(&store->ground.stopping, true);
    pthread_cond_signal(&store->ground.wake_maintain);
    pthread_mutex_unlock(&store->ground.dirty_lock);
    if (store->maintain_runs)
        pthread_join(store->maintain, NULL);
    store->maintain_runs = false;
}
