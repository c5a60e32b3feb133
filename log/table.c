/* The store's table of topics, sorted by name. It is guarded by the store's lock alone. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/store.h"

/* Where a topic of that name is, or belongs. */
static size_t find_name(const struct tlog_store *store, const char *name, bool *found)
{
    size_t low = 0, high = store->topic_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(store->topics[middle]->head.name, name);
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

bool tlog_table_has(struct tlog_store *store, const char *name)
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
    size_t at = find_name(store, topic->head.name, &found);
    memmove(store->topics + at + 1, store->topics + at, (store->topic_count - at) * sizeof *store->topics);
    store->topics[at] = topic;
    store->topic_count++;
}

static void take_out(struct tlog_store *store, struct tlog_topic *topic)
{
    bool found;
    size_t at = find_name(store, topic->head.name, &found);
    store->topic_count--;
    memmove(store->topics + at, store->topics + at + 1, (store->topic_count - at) * sizeof *store->topics);
}

int tlog_table_add(struct tlog_store *store, struct tlog_topic *topic)
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

struct tlog_topic *tlog_topic_get(struct tlog_store *store, const char *name)
{
    bool found;
    pthread_mutex_lock(&store->lock);
    size_t at = find_name(store, name, &found);
    struct tlog_topic *topic = found ? store->topics[at] : NULL;
    if (topic)
        atomic_fetch_add(&topic->head.refs, 1);
    pthread_mutex_unlock(&store->lock);
    return topic;
}

struct tlog_topic *tlog_topic_by_id(struct tlog_store *store, const uint8_t id[16])
{
    struct tlog_topic *topic = NULL;
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < store->topic_count && !topic; i++)
        if (memcmp(store->topics[i]->head.id, id, 16) == 0)
            topic = store->topics[i];
    if (topic)
        atomic_fetch_add(&topic->head.refs, 1);
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
        atomic_fetch_add(&topics[i]->head.refs, 1);
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

void tlog_table_remove(struct tlog_store *store, struct tlog_topic *topic)
{
    pthread_mutex_lock(&store->lock);
    take_out(store, topic);
    pthread_mutex_unlock(&store->lock);
}

void tlog_table_rename(struct tlog_store *store, struct tlog_topic *topic, const char *name)
{
    pthread_mutex_lock(&store->lock);
    take_out(store, topic);
    snprintf(topic->head.name, sizeof topic->head.name, "%s", name);
    insert(store, topic);
    pthread_mutex_unlock(&store->lock);
}
