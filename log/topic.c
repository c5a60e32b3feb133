/* Topics: names, ids, configuration, their partitions. topic.conf is a line `id=HEX` and then the text of
 * .config as its owner wrote it; `removed` has a line for each removed partition: number, pos, seq, chain, time. */
#include "log/topic.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/error.h"
#include "log/quota.h"

enum { NAME_MOST = 249, NUMBERS = 100000 };

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

/* ---- files ---- */

void tlog_topic_hex(const uint8_t id[16], char to[33])
{
    for (int i = 0; i < 16; i++)
        snprintf(to + (size_t)2 * i, 3, "%02x", id[i]);
}

int tlog_topic_write_conf(const struct tlog_topic *topic, const char *dir, const char *text)
{
    size_t bytes = strlen(text) + 37;
    char *whole = malloc(bytes + 1), id[33];
    if (!whole)
        return -ENOMEM;
    tlog_topic_hex(topic->head.id, id);
    int n = snprintf(whole, bytes + 1, "id=%s\n%s", id, text);
    int r = tlog_file_replace(topic->head.ground->io, dir, "topic.conf", whole, (size_t)n);
    free(whole);
    return r;
}

static int read_conf(struct tlog_topic *topic, const char *dir, struct tlog_error *error)
{
    char path[TLOG_NAME_BYTES + 16], *text;
    snprintf(path, sizeof path, "%s/topic.conf", dir);
    int r = tlog_file_read(topic->head.ground->io, path, &text, NULL);
    if (r < 0) {
        tlog_error_set(error, "topic.conf: %s", strerror(-r));
        return r;
    }
    char *end = text;
    bool good = strncmp(text, "id=", 3) == 0;
    for (int i = 0; good && i < 16; i++)
        good = sscanf(text + 3 + (size_t)2 * i, "%2hhx", &topic->head.id[i]) == 1;
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

int tlog_topic_set_end(struct tlog_topic *topic, unsigned number, const struct tlog_point *end)
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

uint64_t tlog_topic_born(struct tlog_topic *topic, unsigned number)
{
    pthread_mutex_lock(&topic->head.lock);
    uint64_t pos = number < topic->ends_count ? topic->ends[number].pos : 0;
    pthread_mutex_unlock(&topic->head.lock);
    return pos;
}

static int read_removed(struct tlog_topic *topic, const char *dir)
{
    char path[TLOG_NAME_BYTES + 16], *text;
    snprintf(path, sizeof path, "%s/removed", dir);
    int r = tlog_file_read(topic->head.ground->io, path, &text, NULL);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    int used = 0;
    for (const char *line = text; r == 0 && *line; line += used) {
        unsigned number;
        struct tlog_point end = {0};
        if (sscanf(line, "%u %" SCNu64 " %" SCNu64 " %" SCNx64 " %" SCNd64 " %n", &number, &end.pos, &end.seq,
                   &end.chain, &end.time_ns, &used) != 5 ||
            number >= NUMBERS)
            r = -EBADMSG;
        else
            r = tlog_topic_set_end(topic, number, &end);
    }
    free(text);
    return r;
}

int tlog_topic_write_removed(struct tlog_topic *topic, const char *dir)
{
    char *text = malloc((size_t)topic->ends_count * 100 + 1);
    size_t n = 0;
    if (!text)
        return -ENOMEM;
    for (unsigned i = 0; i < topic->ends_count; i++)
        if (topic->ends[i].pos > 0)
            n += (size_t)sprintf(text + n, "%u %" PRIu64 " %" PRIu64 " %016" PRIx64 " %" PRId64 "\n", i,
                                 topic->ends[i].pos, topic->ends[i].seq, topic->ends[i].chain, topic->ends[i].time_ns);
    int r = tlog_file_replace(topic->head.ground->io, dir, "removed", text, n);
    free(text);
    return r;
}

/* ---- life ---- */

static void topic_free(struct tlog_topic_head *head)
{
    struct tlog_topic *topic = (struct tlog_topic *)(void *)head;
    for (unsigned i = 0; i < topic->partition_count; i++)
        if (topic->partitions[i])
            tlog_partition_put(topic->partitions[i]);
    free(topic->partitions);
    free(topic->ends);
    free(topic->config_text);
    pthread_mutex_destroy(&topic->head.lock);
    free(topic);
}

struct tlog_topic *tlog_topic_new(struct tlog_ground *ground, const char *name)
{
    struct tlog_topic *topic = calloc(1, sizeof *topic);
    if (!topic)
        return NULL;
    topic->head.ground = ground;
    topic->head.free = topic_free;
    atomic_init(&topic->head.refs, 1);
    pthread_mutex_init(&topic->head.lock, NULL);
    snprintf(topic->head.name, sizeof topic->head.name, "%s", name);
    topic->mtime_ns = tlog_ground_time_ns(ground);
    return topic;
}

void tlog_topic_unref(struct tlog_topic *topic)
{
    if (topic)
        tlog_topic_head_unref(&topic->head);
}

int tlog_topic_load(struct tlog_ground *ground, const char *name, struct tlog_topic **out, struct tlog_error *error)
{
    char dir[TLOG_NAME_BYTES], origin[TLOG_NAME_BYTES + 8];
    struct tlog_io_stat st;
    struct tlog_topic *topic = tlog_topic_new(ground, name);
    if (!topic)
        return -ENOMEM;
    tlog_topic_dir(&topic->head, dir);
    int r = read_conf(topic, dir, error);
    if (r == 0)
        r = read_removed(topic, dir);
    if (r == 0)
        r = ground->io->stat_path(ground->io, dir, &st);
    if (r < 0) {
        tlog_error_prefix(error, "topic %s", name);
        tlog_topic_unref(topic);
        return r;
    }
    topic->mtime_ns = st.mtime_ns;
    snprintf(origin, sizeof origin, "%s/origin", dir);
    topic->restored = ground->io->stat_path(ground->io, origin, &st) == 0;
    if (tlog_attr_read(ground->io, dir, &topic->head.attr, NULL, NULL) < 0)
        topic->head.attr = ground->attr;
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

int tlog_topic_make_partition(struct tlog_topic *topic, unsigned number, const struct tlog_attr *attr)
{
    char dir[TLOG_NAME_BYTES];
    struct tlog_partition *p;
    struct tlog_point start = {.chain = tlog_root_chain(topic->head.id, number)};
    if (number < topic->ends_count && topic->ends[number].pos > 0)
        start = topic->ends[number];
    int r = tlog_partition_new(&p, &topic->head, number);
    if (r < 0)
        return r;
    pthread_mutex_lock(&p->lock);
    r = tlog_partition_make(p, &start);
    bool made = r == 0;
    tlog_partition_dir(p, dir);
    if (r == 0 && attr &&
        (attr->mode != (topic->head.attr.mode & 0666) || attr->uid != topic->head.attr.uid ||
         attr->gid != topic->head.attr.gid)) {
        r = tlog_attr_write(topic->head.ground->io, dir, attr, 0, UINT64_MAX);
        p->attr = *attr;
        p->attr_own = r == 0;
    }
    if (r == 0)
        r = tlog_topic_place(topic, p);
    if (r == 0)
        tlog_partition_dirtied(p);
    else
        p->deleted = true; /* upkeep may have heard of it */
    if (r < 0 && made)
        tlog_tree_remove(topic->head.ground->io, dir);
    pthread_mutex_unlock(&p->lock);
    if (r < 0)
        tlog_partition_put(p);
    return r;
}

int tlog_topic_add_partition(struct tlog_topic *topic, unsigned number, const struct tlog_attr *attr)
{
    if (topic->head.ground->options.read_only || atomic_load(&topic->head.ground->failed))
        return -EROFS;
    if ((int64_t)number >= tlog_topic_value(topic, TLOG_PARTITIONS_MAX))
        return -EINVAL;
    pthread_mutex_lock(&topic->head.lock);
    int r = topic->deleted ? -ESTALE : 0;
    if (r == 0 && number < topic->partition_count && topic->partitions[number])
        r = -EEXIST;
    uint64_t missing = 0;
    for (unsigned i = 0; r == 0 && i <= number; i++)
        missing += i >= topic->partition_count || !topic->partitions[i];
    if (r == 0)
        r = tlog_room_for(topic->head.ground, missing);
    for (unsigned i = 0; r == 0 && i <= number; i++)
        if (i >= topic->partition_count || !topic->partitions[i])
            r = tlog_topic_make_partition(topic, i, attr);
    if (r == 0)
        topic->mtime_ns = tlog_ground_time_ns(topic->head.ground);
    pthread_mutex_unlock(&topic->head.lock);
    return r;
}

/* ---- looking ---- */

void tlog_topic_name(struct tlog_topic *topic, char to[256])
{
    pthread_mutex_lock(&topic->head.lock);
    memcpy(to, topic->head.name, sizeof topic->head.name);
    pthread_mutex_unlock(&topic->head.lock);
}

const uint8_t *tlog_topic_id(const struct tlog_topic *topic)
{
    return topic->head.id;
}

int64_t tlog_topic_mtime_ns(struct tlog_topic *topic)
{
    pthread_mutex_lock(&topic->head.lock);
    int64_t mtime_ns = topic->mtime_ns;
    pthread_mutex_unlock(&topic->head.lock);
    return mtime_ns;
}

unsigned tlog_topic_partitions(struct tlog_topic *topic)
{
    pthread_mutex_lock(&topic->head.lock);
    unsigned count = topic->partition_count;
    pthread_mutex_unlock(&topic->head.lock);
    return count;
}

struct tlog_partition *tlog_partition_get(struct tlog_topic *topic, unsigned number)
{
    pthread_mutex_lock(&topic->head.lock);
    struct tlog_partition *p = number < topic->partition_count ? topic->partitions[number] : NULL;
    if (p)
        tlog_partition_ref(p);
    pthread_mutex_unlock(&topic->head.lock);
    return p;
}

struct tlog_topic *tlog_partition_topic(const struct tlog_partition *partition)
{
    return tlog_topic_of(partition);
}
