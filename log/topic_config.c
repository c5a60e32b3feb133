/* What is set on a topic: its configuration, its mode and owner. */
#include <errno.h>
#include <stdlib.h>

#include "log/spare.h"
#include "log/topic.h"

void tlog_topic_settle(struct tlog_topic *topic)
{
    const struct tlog_io *io = topic->head.ground->io;
    bool retention = false;
    for (unsigned key = 0; key < TLOG_KEYS; key++) {
        int64_t value = tlog_config_has(&topic->config, key)                ? topic->config.values[key]
                        : tlog_config_has(&topic->head.ground->config, key) ? topic->head.ground->config.values[key]
                                                                            : tlog_key_default(key);
        int64_t old = atomic_exchange_explicit(&topic->head.values[key], value, memory_order_relaxed);
        if (key == TLOG_RETENTION_MS || key == TLOG_RETENTION_BYTES || key == TLOG_CLEANUP_POLICY)
            retention = retention || old != value;
    }
    if (retention)
        atomic_store(&topic->head.retention_from_ns, io->boottime_ns(io) + TLOG_RETENTION_WAIT_NS);
    tlog_ground_kick_maintain(topic->head.ground);
    tlog_ground_kick(topic->head.ground); /* it may be asleep until what flush.ms was before */
}

int64_t tlog_topic_value(struct tlog_topic *topic, enum tlog_key key)
{
    return tlog_value(&topic->head, key);
}

int tlog_topic_config_text(struct tlog_topic *topic, char **out)
{
    pthread_mutex_lock(&topic->head.lock);
    *out = strdup(topic->config_text);
    pthread_mutex_unlock(&topic->head.lock);
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
    if (topic->head.ground->options.read_only || atomic_load(&topic->head.ground->failed))
        return -EROFS;
    pthread_mutex_lock(&topic->head.ground->admin_lock); /* the root's values must stand still */
    pthread_mutex_lock(&topic->head.lock);
    tlog_topic_dir(&topic->head, dir);
    int r = topic->deleted ? -ESTALE : tlog_config_change(topic->config_text, text, replace, &changed, &config, error);
    if (r == 0) {
        r = tlog_topic_write_conf(topic, dir, changed);
        if (tlog_spare_use(topic->head.ground, r)) /* retention is one way out of a full disk */
            r = tlog_topic_write_conf(topic, dir, changed);
        if (r < 0) /* perhaps at its very end: a restart must not find what was refused */
            (void)tlog_topic_write_conf(topic, dir, topic->config_text);
    }
    if (r == 0) {
        free(topic->config_text);
        topic->config_text = changed;
        topic->config = config;
        tlog_topic_settle(topic);
        changed = NULL;
    }
    tlog_spare_keep(topic->head.ground);
    pthread_mutex_unlock(&topic->head.lock);
    pthread_mutex_unlock(&topic->head.ground->admin_lock);
    free(changed);
    return r;
}

void tlog_topic_attr(struct tlog_topic *topic, struct tlog_attr *out)
{
    pthread_mutex_lock(&topic->head.lock);
    *out = topic->head.attr;
    pthread_mutex_unlock(&topic->head.lock);
}

int tlog_topic_set_attr(struct tlog_topic *topic, const struct tlog_attr *attr)
{
    char dir[TLOG_NAME_BYTES];
    if (topic->head.ground->options.read_only || atomic_load(&topic->head.ground->failed))
        return -EROFS;
    pthread_mutex_lock(&topic->head.lock);
    tlog_topic_dir(&topic->head, dir);
    int r = topic->deleted ? -ESTALE : 0;
    for (unsigned i = 0; r == 0 && i < topic->partition_count; i++) /* theirs must not change with it */
        if (topic->partitions[i])
            r = tlog_partition_keep_attr(topic->partitions[i]);
    if (r == 0)
        r = tlog_attr_write(topic->head.ground->io, dir, attr, 0, UINT64_MAX);
    if (r == 0)
        topic->head.attr = *attr;
    pthread_mutex_unlock(&topic->head.lock);
    return r;
}
