/* Topics: names, ids, configuration, their partitions. topic.conf is a line `id=HEX` and then the text of
 * .config as its owner wrote it; `removed` has a line for each removed partition: number, pos, seq, chain, time. */
#include "log/topic.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/error.h"
#include "log/store.h"

enum { NAME_MOST = 249 };

int tlog_topic_check_name(const char *name)
{
    size_t length = strlen(name);
    if (length > NAME_MOST)
        return -ENAMETOOLONG;
    if (length == 0 || name[0] == '.')
        return -EINVAL;
    for (const char *c = name; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '.' ||
              *c == '_' || *c == '-'))
            return -EINVAL;
    return 0;
}

void tlog_topic_dir(const struct tlog_topic *topic, char to[TLOG_NAME_BYTES])
{
    snprintf(to, TLOG_NAME_BYTES, "%s/topics/%s", topic->store->path, topic->name);
}

/* ---- files ---- */

static void hex(const uint8_t id[16], char to[33])
{
    for (int i = 0; i < 16; i++)
        snprintf(to + (size_t)2 * i, 3, "%02x", id[i]);
}

static int write_conf(const struct tlog_topic *topic, const char *dir, const char *text)
{
    size_t bytes = strlen(text) + 37;
    char *whole = malloc(bytes + 1), id[33];
    if (!whole)
        return -ENOMEM;
    hex(topic->id, id);
    int n = snprintf(whole, bytes + 1, "id=%s\n%s", id, text);
    int r = tlog_file_replace(topic->store->io, dir, "topic.conf", whole, (size_t)n);
    free(whole);
    return r;
}

static int read_conf(struct tlog_topic *topic, const char *dir, struct tlog_error *error)
{
    char path[TLOG_NAME_BYTES + 16], *text;
    snprintf(path, sizeof path, "%s/topic.conf", dir);
    int r = tlog_file_read(topic->store->io, path, &text, NULL);
    if (r < 0) {
        tlog_error_set(error, "topic.conf: %s", strerror(-r));
        return r;
    }
    char *end = text;
    bool good = strncmp(text, "id=", 3) == 0;
    for (int i = 0; good && i < 16; i++)
        good = sscanf(text + 3 + (size_t)2 * i, "%2hhx", &topic->id[i]) == 1;
    if (good)
        end = text + 35;
    good = good && (*end == '\n' || *end == 0);
    if (good)
        end += *end == '\n';
    if (!good)
        tlog_error_set(error, "topic.conf: no id in its first line");
    r = good ? tlog_config_parse(end, strlen(end), &topic->config, error) : -EBADMSG;
    if (r == 0) {
        topic->config_text = strdup(end);
        r = topic->config_text ? 0 : -ENOMEM;
    } else {
        r = -EBADMSG;
    }
    free(text);
    return r;
}

static int set_end(struct tlog_topic *topic, unsigned number, const struct tlog_point *end)
{
    if (number >= topic->ends_count) {
        struct tlog_point *grown = realloc(topic->ends, (number + 1) * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        memset(grown + topic->ends_count, 0, (number + 1 - topic->ends_count) * sizeof *grown);
        topic->ends = grown;
        topic->ends_count = number + 1;
    }
    topic->ends[number] = *end;
    return 0;
}

static int read_removed(struct tlog_topic *topic, const char *dir)
{
    char path[TLOG_NAME_BYTES + 16], *text;
    snprintf(path, sizeof path, "%s/removed", dir);
    int r = tlog_file_read(topic->store->io, path, &text, NULL);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    int used = 0;
    for (const char *line = text; r == 0 && *line; line += used) {
        unsigned number;
        struct tlog_point end = {0};
        if (sscanf(line, "%u %" SCNu64 " %" SCNu64 " %" SCNx64 " %" SCNd64 " %n", &number, &end.pos, &end.seq,
                   &end.chain, &end.time_ns, &used) != 5)
            r = -EBADMSG;
        else
            r = set_end(topic, number, &end);
    }
    free(text);
    return r;
}

static int write_removed(struct tlog_topic *topic, const char *dir)
{
    char *text = malloc((size_t)topic->ends_count * 100 + 1);
    size_t n = 0;
    if (!text)
        return -ENOMEM;
    for (unsigned i = 0; i < topic->ends_count; i++)
        if (topic->ends[i].pos > 0)
            n += (size_t)sprintf(text + n, "%u %" PRIu64 " %" PRIu64 " %016" PRIx64 " %" PRId64 "\n", i,
                                 topic->ends[i].pos, topic->ends[i].seq, topic->ends[i].chain, topic->ends[i].time_ns);
    int r = tlog_file_replace(topic->store->io, dir, "removed", text, n);
    free(text);
    return r;
}

/* ---- life ---- */

static struct tlog_topic *topic_new(struct tlog_store *store, const char *name)
{
    struct tlog_topic *topic = calloc(1, sizeof *topic);
    if (!topic)
        return NULL;
    topic->store = store;
    atomic_init(&topic->refs, 1);
    pthread_mutex_init(&topic->lock, NULL);
    snprintf(topic->name, sizeof topic->name, "%s", name);
    topic->mtime_ns = tlog_store_time_ns(store);
    return topic;
}

void tlog_topic_free(struct tlog_topic *topic)
{
    for (unsigned i = 0; i < topic->partition_count; i++)
        if (topic->partitions[i])
            tlog_partition_put(topic->partitions[i]);
    free(topic->partitions);
    free(topic->ends);
    free(topic->config_text);
    pthread_mutex_destroy(&topic->lock);
    free(topic);
}

void tlog_topic_unref(struct tlog_topic *topic)
{
    if (topic && atomic_fetch_sub(&topic->refs, 1) == 1)
        tlog_topic_free(topic);
}

int tlog_topic_load(struct tlog_store *store, const char *name, struct tlog_topic **out, struct tlog_error *error)
{
    char dir[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    struct tlog_topic *topic = topic_new(store, name);
    if (!topic)
        return -ENOMEM;
    tlog_topic_dir(topic, dir);
    int r = read_conf(topic, dir, error);
    if (r == 0)
        r = read_removed(topic, dir);
    if (r == 0)
        r = store->io->stat_path(store->io, dir, &st);
    if (r < 0) {
        tlog_error_prefix(error, "topic %s", name);
        tlog_topic_free(topic);
        return r;
    }
    topic->mtime_ns = st.mtime_ns;
    if (tlog_attr_read(store->io, dir, &topic->attr, NULL, NULL) < 0)
        topic->attr = store->attr;
    tlog_topic_settle(topic);
    *out = topic;
    return 0;
}

int tlog_topic_place(struct tlog_topic *topic, struct tlog_partition *p)
{
    if (p->number >= topic->partition_count) {
        struct tlog_partition **grown = realloc(topic->partitions, (p->number + 1) * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        memset(grown + topic->partition_count, 0, (p->number + 1 - topic->partition_count) * sizeof(void *));
        topic->partitions = grown;
        topic->partition_count = p->number + 1;
    }
    topic->partitions[p->number] = p;
    return 0;
}

/* ---- creating ---- */

static int make_partition(struct tlog_topic *topic, unsigned number, const struct tlog_attr *attr)
{
    char dir[TLOG_NAME_BYTES];
    struct tlog_partition *p;
    struct tlog_point start = {.chain = tlog_root_chain(topic->id, number)};
    if (number < topic->ends_count && topic->ends[number].pos > 0)
        start = topic->ends[number];
    int r = tlog_partition_new(&p, topic, number);
    if (r < 0)
        return r;
    pthread_mutex_lock(&p->lock);
    r = tlog_partition_make(p, &start);
    tlog_partition_dir(p, dir);
    if (r == 0 && attr &&
        (attr->mode != (topic->attr.mode & 0666) || attr->uid != topic->attr.uid || attr->gid != topic->attr.gid)) {
        r = tlog_attr_write(topic->store->io, dir, attr, 0, UINT64_MAX);
        p->attr = *attr;
        p->attr_own = r == 0;
    }
    if (r == 0)
        r = tlog_topic_place(topic, p);
    if (r == 0)
        tlog_partition_dirtied(p);
    pthread_mutex_unlock(&p->lock);
    if (r < 0)
        tlog_partition_put(p);
    return r;
}

int tlog_topic_add_partition(struct tlog_topic *topic, unsigned number, const struct tlog_attr *attr)
{
    if (topic->store->options.read_only || atomic_load(&topic->store->failed))
        return -EROFS;
    if ((int64_t)number >= tlog_topic_value(topic, TLOG_PARTITIONS_MAX))
        return -EINVAL;
    pthread_mutex_lock(&topic->lock);
    int r = topic->deleted ? -ESTALE : 0;
    if (r == 0 && number < topic->partition_count && topic->partitions[number])
        r = -EEXIST;
    for (unsigned i = 0; r == 0 && i <= number; i++)
        if (i >= topic->partition_count || !topic->partitions[i])
            r = make_partition(topic, i, attr);
    topic->mtime_ns = tlog_store_time_ns(topic->store);
    pthread_mutex_unlock(&topic->lock);
    return r;
}

/* ---- the store's table of topics, by name, under the store's lock alone ---- */

/* Where a topic of that name is, or belongs. */
static size_t find_name(const struct tlog_store *store, const char *name, bool *found)
{
    size_t low = 0, high = store->topic_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(store->topics[middle]->name, name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = false;
    return low;
}

static bool table_has(struct tlog_store *store, const char *name)
{
    bool found;
    pthread_mutex_lock(&store->lock);
    (void)find_name(store, name, &found);
    pthread_mutex_unlock(&store->lock);
    return found;
}

static void insert(struct tlog_store *store, struct tlog_topic *topic)
{
    bool found;
    size_t at = find_name(store, topic->name, &found);
    memmove(store->topics + at + 1, store->topics + at, (store->topic_count - at) * sizeof *store->topics);
    store->topics[at] = topic;
    store->topic_count++;
}

static void take_out(struct tlog_store *store, struct tlog_topic *topic)
{
    bool found;
    size_t at = find_name(store, topic->name, &found);
    store->topic_count--;
    memmove(store->topics + at, store->topics + at + 1, (store->topic_count - at) * sizeof *store->topics);
}

int tlog_store_place(struct tlog_store *store, struct tlog_topic *topic)
{
    pthread_mutex_lock(&store->lock);
    struct tlog_topic **grown = realloc(store->topics, (store->topic_count + 1) * sizeof *grown);
    if (grown) {
        store->topics = grown;
        insert(store, topic);
    }
    pthread_mutex_unlock(&store->lock);
    return grown ? 0 : -ENOMEM;
}

/* ---- creating ---- */

/* Makes the directory with all its files. */
static int make_topic(struct tlog_topic *topic, unsigned partitions)
{
    struct tlog_store *store = topic->store;
    char dir[TLOG_NAME_BYTES];
    tlog_topic_dir(topic, dir);
    int r = store->io->mkdir(store->io, dir);
    if (r == 0)
        r = write_conf(topic, dir, topic->config_text);
    if (r == 0)
        r = tlog_attr_write(store->io, dir, &topic->attr, 0, UINT64_MAX);
    for (unsigned i = 0; r == 0 && i < partitions; i++)
        r = make_partition(topic, i, NULL);
    if (r == 0)
        r = tlog_store_place(store, topic);
    if (r < 0 && r != -EEXIST)
        tlog_tree_remove(store->io, dir);
    return r;
}

int tlog_topic_create(struct tlog_store *store, const char *name, unsigned partitions, const struct tlog_attr *attr,
                      struct tlog_topic **out, struct tlog_error *error)
{
    int r = tlog_topic_check_name(name);
    if (r == 0 && (store->options.read_only || atomic_load(&store->failed)))
        r = -EROFS;
    if (r < 0) {
        tlog_error_set(error, "%s: %s", name, r == -EINVAL ? "not a topic name" : strerror(-r));
        return r;
    }
    struct tlog_topic *topic = topic_new(store, name);
    if (!topic)
        return -ENOMEM;
    store->io->random(store->io, topic->id, sizeof topic->id);
    atomic_store(&topic->unlisted, true);
    pthread_mutex_lock(&store->admin_lock);
    topic->attr = attr ? *attr : store->attr;
    topic->config_text = strdup("");
    tlog_topic_settle(topic);
    if (partitions == 0)
        partitions = (unsigned)tlog_topic_value(topic, TLOG_PARTITIONS);
    r = table_has(store, name) ? -EEXIST : !topic->config_text ? -ENOMEM : 0;
    if (r == 0 && (int64_t)partitions > tlog_topic_value(topic, TLOG_PARTITIONS_MAX))
        r = -EINVAL;
    if (r == 0)
        r = make_topic(topic, partitions);
    if (r == 0 && out) {
        atomic_fetch_add(&topic->refs, 1);
        *out = topic;
    }
    pthread_mutex_unlock(&store->admin_lock);
    if (r < 0) {
        tlog_error_set(error, "%s: %s", name, r == -EINVAL ? "more partitions than partitions.max" : strerror(-r));
        tlog_topic_forget(topic);
        tlog_topic_unref(topic);
    }
    return r;
}

/* ---- removing ---- */

/* Marks a partition as gone and closes its files; upkeep lets go of it by itself. With p->lock. */
static void partition_gone(struct tlog_partition *p)
{
    p->deleted = true;
    for (unsigned i = 0; i < p->segment_count; i++)
        tlog_handles_close(&p->store->handles, &p->segments[i].handle);
}

void tlog_topic_forget(struct tlog_topic *topic)
{
    for (unsigned i = 0; i < topic->partition_count; i++)
        if (topic->partitions[i]) {
            pthread_mutex_lock(&topic->partitions[i]->lock);
            partition_gone(topic->partitions[i]);
            pthread_mutex_unlock(&topic->partitions[i]->lock);
        }
}

/* Moves a directory to the trash under a name that says what it was and when. */
static int move_to_trash(struct tlog_store *store, const char *dir, const char *what)
{
    char trash[TLOG_NAME_BYTES], to[TLOG_NAME_BYTES];
    snprintf(trash, sizeof trash, "%s/trash", store->path);
    int r = store->io->mkdir(store->io, trash);
    if (r < 0 && r != -EEXIST)
        return r;
    int n = snprintf(to, sizeof to, "%s/trash/%s.%" PRId64, store->path, what, store->io->realtime_ns(store->io));
    if (n >= (int)sizeof to)
        return -ENAMETOOLONG;
    r = store->io->rename(store->io, dir, to);
    if (r == 0)
        r = store->io->sync_dir(store->io, trash);
    return r;
}

static bool holds_records(const struct tlog_partition *p)
{
    return p->end > p->segments[0].pos || p->pending > 0;
}

/* With all the partitions' locks, so that nothing is appended meanwhile. */
static int remove_locked(struct tlog_topic *topic, bool discard)
{
    struct tlog_store *store = topic->store;
    char dir[TLOG_NAME_BYTES], gone[TLOG_NAME_BYTES], id[33], topics[TLOG_NAME_BYTES];
    tlog_topic_dir(topic, dir);
    bool records = false;
    for (unsigned i = 0; i < topic->partition_count; i++)
        records = records || (topic->partitions[i] && holds_records(topic->partitions[i]));
    if (records && !discard)
        return -ENOTEMPTY;
    for (unsigned i = 0; records && i < topic->partition_count; i++)
        if (topic->partitions[i])
            tlog_writers_end(topic->partitions[i]);
    for (unsigned i = 0; records && i < topic->partition_count; i++)
        if (topic->partitions[i])
            (void)tlog_entry_close(topic->partitions[i]);
    snprintf(topics, sizeof topics, "%s/topics", store->path);
    int r;
    if (records) {
        r = move_to_trash(store, dir, topic->name);
    } else {
        hex(topic->id, id);
        snprintf(gone, sizeof gone, "%s/topics/.gone.%s", store->path, id);
        r = store->io->rename(store->io, dir, gone);
        if (r == 0)
            tlog_tree_remove(store->io, gone);
    }
    if (r < 0)
        return r;
    (void)store->io->sync_dir(store->io, topics);
    topic->deleted = true;
    for (unsigned i = 0; i < topic->partition_count; i++)
        if (topic->partitions[i])
            partition_gone(topic->partitions[i]);
    return 0;
}

static void lock_partitions(struct tlog_topic *topic, bool lock)
{
    for (unsigned i = 0; i < topic->partition_count; i++)
        if (topic->partitions[i] && lock)
            pthread_mutex_lock(&topic->partitions[i]->lock);
        else if (topic->partitions[i])
            pthread_mutex_unlock(&topic->partitions[i]->lock);
}

int tlog_topic_remove(struct tlog_topic *topic, bool discard)
{
    struct tlog_store *store = topic->store;
    if (store->options.read_only || atomic_load(&store->failed))
        return -EROFS;
    pthread_mutex_lock(&store->admin_lock);
    pthread_mutex_lock(&topic->lock);
    int r = -ESTALE;
    if (!topic->deleted) {
        lock_partitions(topic, true);
        r = remove_locked(topic, discard);
        lock_partitions(topic, false);
    }
    pthread_mutex_unlock(&topic->lock);
    if (r == 0) {
        pthread_mutex_lock(&store->lock);
        take_out(store, topic);
        pthread_mutex_unlock(&store->lock);
    }
    pthread_mutex_unlock(&store->admin_lock);
    if (r == 0)
        tlog_topic_unref(topic); /* the table's */
    return r;
}

static int partition_remove(struct tlog_partition *p, bool discard)
{
    struct tlog_topic *topic = p->topic;
    char dir[TLOG_NAME_BYTES], topic_dir[TLOG_NAME_BYTES], gone[TLOG_NAME_BYTES + 16], what[512];
    bool records = holds_records(p);
    if (records && !discard)
        return -EPERM;
    tlog_writers_end(p);
    int r = tlog_entry_close(p);
    if (r < 0)
        return r;
    tlog_topic_dir(topic, topic_dir);
    tlog_partition_dir(p, dir);
    if (p->closed.pos > 0) {
        r = set_end(topic, p->number, &p->closed);
        if (r == 0)
            r = write_removed(topic, topic_dir);
        if (r < 0)
            return r;
    }
    if (records) {
        snprintf(what, sizeof what, "%s.%u", topic->name, p->number);
        r = move_to_trash(p->store, dir, what);
    } else {
        snprintf(gone, sizeof gone, "%s/.gone.%u", topic_dir, p->number);
        r = p->store->io->rename(p->store->io, dir, gone);
        if (r == 0)
            tlog_tree_remove(p->store->io, gone);
    }
    if (r == 0)
        (void)p->store->io->sync_dir(p->store->io, topic_dir);
    if (r == 0)
        partition_gone(p);
    return r;
}

int tlog_partition_remove(struct tlog_partition *partition, bool discard)
{
    struct tlog_topic *topic = partition->topic;
    if (topic->store->options.read_only || atomic_load(&topic->store->failed))
        return -EROFS;
    pthread_mutex_lock(&topic->lock);
    pthread_mutex_lock(&partition->lock);
    int r = partition->deleted ? -ESTALE : partition_remove(partition, discard);
    pthread_mutex_unlock(&partition->lock);
    if (r == 0) {
        topic->partitions[partition->number] = NULL;
        while (topic->partition_count > 0 && !topic->partitions[topic->partition_count - 1])
            topic->partition_count--;
        topic->mtime_ns = tlog_store_time_ns(topic->store);
    }
    pthread_mutex_unlock(&topic->lock);
    if (r == 0)
        tlog_partition_put(partition);
    return r;
}

int tlog_topic_rename(struct tlog_topic *topic, const char *name)
{
    struct tlog_store *store = topic->store;
    char from[TLOG_NAME_BYTES], to[TLOG_NAME_BYTES];
    int r = tlog_topic_check_name(name);
    if (r == 0 && (store->options.read_only || atomic_load(&store->failed)))
        r = -EROFS;
    if (r < 0)
        return r;
    pthread_mutex_lock(&store->admin_lock);
    pthread_mutex_lock(&topic->lock);
    lock_partitions(topic, true);
    tlog_topic_dir(topic, from);
    snprintf(to, sizeof to, "%s/topics/%s", store->path, name);
    r = topic->deleted ? -ESTALE : table_has(store, name) ? -EEXIST : store->io->rename(store->io, from, to);
    if (r == 0) {
        pthread_mutex_lock(&store->lock);
        take_out(store, topic);
        snprintf(topic->name, sizeof topic->name, "%s", name);
        insert(store, topic);
        pthread_mutex_unlock(&store->lock);
        atomic_store(&topic->unlisted, true);
    }
    lock_partitions(topic, false);
    pthread_mutex_unlock(&topic->lock);
    pthread_mutex_unlock(&store->admin_lock);
    return r;
}

/* ---- looking ---- */

struct tlog_topic *tlog_topic_get(struct tlog_store *store, const char *name)
{
    bool found;
    pthread_mutex_lock(&store->lock);
    size_t at = find_name(store, name, &found);
    struct tlog_topic *topic = found ? store->topics[at] : NULL;
    if (topic)
        atomic_fetch_add(&topic->refs, 1);
    pthread_mutex_unlock(&store->lock);
    return topic;
}

int tlog_store_topics(struct tlog_store *store, struct tlog_topic ***out, size_t *count)
{
    pthread_mutex_lock(&store->lock);
    struct tlog_topic **topics = malloc((store->topic_count + 1) * sizeof *topics);
    *count = topics ? store->topic_count : 0;
    for (size_t i = 0; i < *count; i++) {
        topics[i] = store->topics[i];
        atomic_fetch_add(&topics[i]->refs, 1);
    }
    pthread_mutex_unlock(&store->lock);
    *out = topics;
    return topics ? 0 : -ENOMEM;
}

void tlog_topics_free(struct tlog_topic **topics, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tlog_topic_unref(topics[i]);
    free(topics);
}

void tlog_topic_name(struct tlog_topic *topic, char to[256])
{
    pthread_mutex_lock(&topic->lock);
    memcpy(to, topic->name, sizeof topic->name);
    pthread_mutex_unlock(&topic->lock);
}

const uint8_t *tlog_topic_id(const struct tlog_topic *topic)
{
    return topic->id;
}

int64_t tlog_topic_mtime_ns(struct tlog_topic *topic)
{
    pthread_mutex_lock(&topic->lock);
    int64_t mtime_ns = topic->mtime_ns;
    pthread_mutex_unlock(&topic->lock);
    return mtime_ns;
}

unsigned tlog_topic_partitions(struct tlog_topic *topic)
{
    pthread_mutex_lock(&topic->lock);
    unsigned count = topic->partition_count;
    pthread_mutex_unlock(&topic->lock);
    return count;
}

struct tlog_partition *tlog_partition_get(struct tlog_topic *topic, unsigned number)
{
    pthread_mutex_lock(&topic->lock);
    struct tlog_partition *p = number < topic->partition_count ? topic->partitions[number] : NULL;
    if (p)
        tlog_partition_ref(p);
    pthread_mutex_unlock(&topic->lock);
    return p;
}

/* ---- configuration and modes ---- */

void tlog_topic_settle(struct tlog_topic *topic)
{
    for (unsigned key = 0; key < TLOG_KEYS; key++) {
        int64_t value = tlog_config_has(&topic->config, key)          ? topic->config.values[key]
                        : tlog_config_has(&topic->store->config, key) ? topic->store->config.values[key]
                                                                      : tlog_key_default(key);
        atomic_store_explicit(&topic->values[key], value, memory_order_relaxed);
    }
}

int64_t tlog_topic_value(struct tlog_topic *topic, enum tlog_key key)
{
    return atomic_load_explicit(&topic->values[key], memory_order_relaxed);
}

int tlog_topic_config_text(struct tlog_topic *topic, char **out)
{
    pthread_mutex_lock(&topic->lock);
    *out = strdup(topic->config_text);
    pthread_mutex_unlock(&topic->lock);
    return *out ? 0 : -ENOMEM;
}

/* The text and values that a change leads to. */
int tlog_config_change(const char *old, const char *text, bool replace, char **out, struct tlog_config *config,
                       struct tlog_error *error)
{
    memset(config, 0, sizeof *config);
    int r = 0;
    if (replace) {
        *out = strdup(text);
        r = *out ? 0 : -ENOMEM;
    } else {
        r = tlog_config_merge(old, text, out, error);
    }
    if (r == 0)
        r = tlog_config_parse(*out, strlen(*out), config, error);
    if (r < 0) {
        free(*out);
        *out = NULL;
    }
    return r;
}

int tlog_topic_config_set(struct tlog_topic *topic, const char *text, bool replace, struct tlog_error *error)
{
    char dir[TLOG_NAME_BYTES], *changed = NULL;
    struct tlog_config config;
    if (topic->store->options.read_only || atomic_load(&topic->store->failed))
        return -EROFS;
    pthread_mutex_lock(&topic->store->admin_lock); /* the root's values must stand still */
    pthread_mutex_lock(&topic->lock);
    tlog_topic_dir(topic, dir);
    int r = topic->deleted ? -ESTALE : tlog_config_change(topic->config_text, text, replace, &changed, &config, error);
    if (r == 0)
        r = write_conf(topic, dir, changed);
    if (r == 0) {
        free(topic->config_text);
        topic->config_text = changed;
        topic->config = config;
        tlog_topic_settle(topic);
        changed = NULL;
    }
    pthread_mutex_unlock(&topic->lock);
    pthread_mutex_unlock(&topic->store->admin_lock);
    free(changed);
    return r;
}

void tlog_topic_attr(struct tlog_topic *topic, struct tlog_attr *out)
{
    pthread_mutex_lock(&topic->lock);
    *out = topic->attr;
    pthread_mutex_unlock(&topic->lock);
}

int tlog_topic_set_attr(struct tlog_topic *topic, const struct tlog_attr *attr)
{
    char dir[TLOG_NAME_BYTES];
    if (topic->store->options.read_only || atomic_load(&topic->store->failed))
        return -EROFS;
    pthread_mutex_lock(&topic->lock);
    tlog_topic_dir(topic, dir);
    int r = topic->deleted ? -ESTALE : 0;
    for (unsigned i = 0; r == 0 && i < topic->partition_count; i++) /* theirs must not change with it */
        if (topic->partitions[i])
            r = tlog_partition_keep_attr(topic->partitions[i]);
    if (r == 0)
        r = tlog_attr_write(topic->store->io, dir, attr, 0, UINT64_MAX);
    if (r == 0)
        topic->attr = *attr;
    pthread_mutex_unlock(&topic->lock);
    return r;
}
