#include "instant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon.h"
#include "tree.h"
#include "when.h"

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* The kernel says which thread asks. */
static pid_t process_of(pid_t thread)
{
    char path[40], line[256];
    int process = 0;

    snprintf(path, sizeof path, "/proc/%d/status", (int)thread);
    FILE *status = fopen(path, "re");
    if (status == NULL)
        return thread;
    while (process == 0 && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "Tgid: %d", &process) != 1)
            process = 0;
    fclose(status);
    return process > 0 ? process : thread;
}

static bool idle(const struct tfs_instant *instant, int64_t seconds)
{
    return atomic_load(&instant->open) == 0 &&
           clock_ns(CLOCK_MONOTONIC) - atomic_load(&instant->used_ns) > seconds * INT64_C(1000000000);
}

/* With instants->lock. What was trimmed meanwhile cannot be pinned; to read it is ESTALE. */
static void pin(struct tfs_instant *instant)
{
    for (size_t i = 0; i < instant->count; i++)
        if (tlog_partition_pin(instant->files[i].partition, instant->files[i].start, &instant->files[i].pin) != 0)
            instant->files[i].pin = (struct tlog_pin){0};
}

/* With instants->lock. */
static void wake(struct tfs_instant *instant)
{
    if (atomic_load(&instant->asleep))
        pin(instant);
    atomic_store(&instant->asleep, false);
}

static void unpin(struct tfs_instant *instant)
{
    for (size_t i = 0; i < instant->count; i++) {
        tlog_pin_release(&instant->files[i].pin);
        instant->files[i].pin = (struct tlog_pin){0};
    }
}

static void free_instant(struct tfs_instant *instant)
{
    unpin(instant);
    for (size_t i = 0; i < instant->count; i++)
        tlog_partition_unref(instant->files[i].partition);
    for (size_t i = 0; i < instant->topic_count; i++)
        free(instant->topics[i].name);
    free(instant->topics);
    free(instant->files);
    free(instant);
}

static int by_name(const void *a, const void *b)
{
    const struct tfs_instant_topic *left = a, *right = b;

    return strcmp(left->name, right->name);
}

/* The topics' names as they are now: a later renaming does not reach into the past. */
static int group(struct tfs_instant *instant, const struct tlog_cut *cuts)
{
    instant->topics = calloc(instant->count > 0 ? instant->count : 1, sizeof *instant->topics);
    if (instant->topics == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < instant->count; i++) {
        struct tfs_instant_topic *last = instant->topics + instant->topic_count - 1;
        char name[256];
        if (i > 0 && cuts[i].topic == cuts[i - 1].topic) {
            last->count++;
            continue;
        }
        tlog_topic_name(cuts[i].topic, name);
        last++;
        *last = (struct tfs_instant_topic){.name = strdup(name), .files = &instant->files[i], .count = 1};
        if (last->name == NULL)
            return -ENOMEM;
        instant->topic_count++;
    }
    qsort(instant->topics, instant->topic_count, sizeof *instant->topics, by_name);
    return 0;
}

/* With instants->lock. An instant has pins of its own, since those of the cuts come and go with them. */
static int make(const struct tlog_cut *cuts, size_t count, struct tfs_instant **out)
{
    struct tfs_instant *instant = calloc(1, sizeof *instant);

    if (instant == NULL)
        return -ENOMEM;
    instant->files = calloc(count > 0 ? count : 1, sizeof *instant->files);
    for (size_t i = 0; instant->files != NULL && i < count; i++, instant->count++)
        instant->files[i] = (struct tfs_instant_file){
            .partition = tlog_partition_ref(cuts[i].pin.partition),
            .start = cuts[i].start,
            .end = cuts[i].end,
            .mtime_ns = cuts[i].mtime_ns,
        };
    int result = instant->files != NULL ? group(instant, cuts) : -ENOMEM;
    if (result != 0) {
        free_instant(instant);
        return result;
    }
    pin(instant);
    *out = instant;
    return 0;
}

static int cut(struct tfs *fs, const char *name, pid_t process, int64_t time_ns, struct tfs_instant **out)
{
    struct tlog_cut *cuts;
    size_t count;
    int result = tlog_store_cut(fs->store, time_ns, &cuts, &count);

    if (result != 0)
        return result == -EINVAL ? -ENOENT : result;
    result = make(cuts, count, out);
    tlog_cuts_free(cuts, count);
    if (result != 0)
        return result;
    struct tfs_instant *instant = *out;
    snprintf(instant->name, sizeof instant->name, "%s", name);
    instant->process = process;
    instant->kept = true;
    instant->refs = 1;
    instant->next = fs->instants.list;
    fs->instants.list = instant;
    return 0;
}

/* How long it may be looked up again. */
static int64_t kept_seconds(const struct tfs_instant *instant)
{
    return instant->process != 0 ? TFS_INSTANT_OWN_SECONDS : TFS_INSTANT_IDLE_SECONDS;
}

/* With instants->lock: takes those out that nobody refers to any more, to be freed without it. */
static struct tfs_instant *take_dead(struct tfs_instants *instants)
{
    struct tfs_instant *dead = NULL;

    for (struct tfs_instant **at = &instants->list, *instant; (instant = *at) != NULL;) {
        if (instant->refs > 0) {
            at = &instant->next;
            continue;
        }
        *at = instant->next;
        instant->next = dead;
        dead = instant;
    }
    return dead;
}

static void free_all(struct tfs_instant *instants)
{
    while (instants != NULL) {
        struct tfs_instant *next = instants->next;
        free_instant(instants);
        instants = next;
    }
}

/* With instants->lock. */
static void let_go(struct tfs_instants *instants, bool all)
{
    for (struct tfs_instant *instant = instants->list; instant != NULL; instant = instant->next)
        if (instant->kept && (all || idle(instant, kept_seconds(instant)))) {
            instant->kept = false;
            instant->refs--;
        }
}

void tfs_instants_init(struct tfs_instants *instants)
{
    pthread_mutex_init(&instants->lock, NULL);
    instants->list = NULL;
}

void tfs_instants_release(struct tfs_instants *instants)
{
    let_go(instants, true);
    free_all(take_dead(instants));
    pthread_mutex_destroy(&instants->lock);
}

int tfs_instant_find(struct tfs *fs, const char *name, pid_t caller, struct tfs_instant **out)
{
    int64_t time_ns = 0;
    bool relative = true;
    int result = 0;

    if (strlen(name) >= sizeof(*out)->name ||
        (strcmp(name, "now") != 0 && !tfs_when_parse(name, clock_ns(CLOCK_REALTIME), &time_ns, &relative)))
        return -ENOENT;
    pid_t process = relative ? process_of(caller) : 0;

    pthread_mutex_lock(&fs->instants.lock);
    struct tfs_instant *instant = fs->instants.list;
    while (instant != NULL &&
           (instant->process != process || strcmp(instant->name, name) != 0 || idle(instant, kept_seconds(instant))))
        instant = instant->next;
    if (instant == NULL)
        result = cut(fs, name, process, time_ns, &instant);
    if (result == 0) {
        instant->refs++;
        atomic_store(&instant->used_ns, clock_ns(CLOCK_MONOTONIC));
        wake(instant);
    }
    pthread_mutex_unlock(&fs->instants.lock);
    *out = instant;
    return result;
}

void tfs_instant_unref(struct tfs *fs, struct tfs_instant *instant)
{
    pthread_mutex_lock(&fs->instants.lock);
    instant->refs--;
    struct tfs_instant *dead = take_dead(&fs->instants);
    pthread_mutex_unlock(&fs->instants.lock);
    free_all(dead);
}

void tfs_instant_use(struct tfs *fs, struct tfs_instant *instant, int opened)
{
    atomic_store(&instant->used_ns, clock_ns(CLOCK_MONOTONIC));
    atomic_fetch_add(&instant->open, (unsigned)opened);
    if (!atomic_load(&instant->asleep))
        return;
    pthread_mutex_lock(&fs->instants.lock);
    wake(instant);
    pthread_mutex_unlock(&fs->instants.lock);
}

/* With instants->lock. Who begins to use it meanwhile is seen here, or sees that it sleeps. */
static void put_to_sleep(struct tfs_instant *instant)
{
    if (atomic_exchange(&instant->asleep, true))
        return;
    if (idle(instant, TFS_INSTANT_OWN_SECONDS))
        unpin(instant);
    else
        atomic_store(&instant->asleep, false);
}

/* With instants->lock. The kernel knows one instant by a name at most: when another of that name is in use, this one's
 * has gone already. */
static bool forgettable(const struct tfs_instants *instants, const struct tfs_instant *instant)
{
    if (instant->forgotten || !idle(instant, TFS_INSTANT_IDLE_SECONDS))
        return false;
    for (const struct tfs_instant *other = instants->list; other != NULL; other = other->next)
        if (strcmp(other->name, instant->name) == 0 && !idle(other, TFS_INSTANT_IDLE_SECONDS))
            return false;
    return true;
}

void tfs_instants_expire(struct tfs *fs)
{
    struct tfs_node *directory;

    if (tfs_tree_find_top(fs, &fs->nodes.root, ".at", &directory) != 0)
        return;
    pthread_mutex_lock(&fs->instants.lock);
    for (struct tfs_instant *instant = fs->instants.list; instant != NULL; instant = instant->next)
        if (forgettable(&fs->instants, instant)) {
            instant->forgotten = true;
            tfs_notify_gone(&fs->notify, tfs_node_id(fs, directory), instant->name);
        }
    for (struct tfs_instant *instant = fs->instants.list; instant != NULL; instant = instant->next)
        put_to_sleep(instant);
    let_go(&fs->instants, false);
    struct tfs_instant *dead = take_dead(&fs->instants);
    pthread_mutex_unlock(&fs->instants.lock);
    free_all(dead);
    tfs_node_unref(fs, directory, 1);
}
