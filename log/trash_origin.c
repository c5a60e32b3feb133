/* The file `origin` of an item in the trash: lines of key=value.
 *
 *     topic=NAME          when it was removed
 *     partition=N         only if the item is a partition
 *     topic_id=HEX        of the topic it belongs to
 *     removed=TIME_NS
 *     start=N POS         for each partition, where it started: what lies below had been trimmed
 *
 * A removal on a full disk goes on without it: then the item's name, TOPIC.TIME_NS or TOPIC.N.TIME_NS, tells, and
 * whether there is a topic.conf in it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/trash.h"

int tlog_origin_write(const struct tlog_topic *topic, const struct tlog_partition *p, const char *dir,
                      int64_t removed_ns)
{
    char id[33];
    size_t room = 512 + (p ? 1 : (size_t)topic->partition_count) * 48;
    char *text = malloc(room);
    if (!text)
        return -ENOMEM;
    tlog_topic_hex(topic->head.id, id);
    int n = snprintf(text, room, "topic=%s\n", topic->head.name);
    if (p)
        n += snprintf(text + n, room - (size_t)n, "partition=%u\n", p->number);
    n += snprintf(text + n, room - (size_t)n, "topic_id=%s\nremoved=%" PRId64 "\n", id, removed_ns);
    for (unsigned i = 0; i < topic->partition_count; i++)
        if (p ? topic->partitions[i] == p : topic->partitions[i] != NULL)
            n += snprintf(text + n, room - (size_t)n, "start=%u %" PRIu64 "\n", i, topic->partitions[i]->start);
    int r = tlog_file_replace(topic->head.ground->io, dir, "origin", text, (size_t)n);
    free(text);
    return r;
}

/* The value of the first line `key=`, up to its end; NULL without. */
static const char *value_of(const char *text, const char *key)
{
    size_t length = strlen(key);
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL)
        if (strncmp(line, key, length) == 0 && line[length] == '=')
            return line + length + 1;
    return NULL;
}

static bool read_id(const char *hex, uint8_t id[16])
{
    for (int i = 0; i < 16; i++)
        if (sscanf(hex + (size_t)2 * i, "%2hhx", &id[i]) != 1)
            return false;
    return true;
}

static int parse(const char *text, struct tlog_origin *out)
{
    const char *topic = value_of(text, "topic"), *partition = value_of(text, "partition");
    const char *id = value_of(text, "topic_id"), *removed = value_of(text, "removed");
    size_t length = topic ? strcspn(topic, "\n") : 0;
    if (length == 0 || length >= sizeof out->topic || !id || !removed || !read_id(id, out->topic_id))
        return -EBADMSG;
    memcpy(out->topic, topic, length);
    out->topic[length] = 0;
    if (tlog_topic_check_name(out->topic) < 0)
        return -EBADMSG;
    out->partition = partition ? (int)strtol(partition, NULL, 10) : -1;
    out->has_id = true;
    out->removed_ns = strtoll(removed, NULL, 10);
    return partition && out->partition < 0 ? -EBADMSG : 0;
}

/* From the name, and whether it is a topic. */
static int guess(const char *item, bool whole, struct tlog_origin *out)
{
    char name[256], *end, *dot;
    snprintf(name, sizeof name, "%s", item);
    if (!(dot = strrchr(name, '.')))
        return -EBADMSG;
    out->removed_ns = strtoll(dot + 1, &end, 10);
    if (*end || end == dot + 1)
        return -EBADMSG;
    *dot = 0;
    out->partition = -1;
    if (!whole) {
        if (!(dot = strrchr(name, '.')))
            return -EBADMSG;
        long number = strtol(dot + 1, &end, 10);
        if (*end || end == dot + 1 || number < 0 || number > INT32_MAX)
            return -EBADMSG;
        out->partition = (int)number;
        *dot = 0;
    }
    memcpy(out->topic, name, sizeof out->topic);
    return tlog_topic_check_name(name) < 0 ? -EBADMSG : 0;
}

int tlog_origin_read(struct tlog_store *store, const char *item, struct tlog_origin *out)
{
    const struct tlog_io *io = store->ground.io;
    char path[TLOG_NAME_BYTES], *text;
    struct tlog_io_stat st;
    memset(out, 0, sizeof *out);
    snprintf(path, sizeof path, "%s/trash/%s", store->ground.path, item);
    int r = io->stat_path(io, path, &st);
    if (r < 0 || !st.directory)
        return r < 0 ? r : -ENOENT;
    snprintf(path, sizeof path, "%s/trash/%s/origin", store->ground.path, item);
    r = tlog_file_read(io, path, &text, NULL);
    if (r == 0) {
        r = parse(text, out);
        free(text);
        return r;
    }
    if (r != -ENOENT)
        return r;
    snprintf(path, sizeof path, "%s/trash/%s/topic.conf", store->ground.path, item);
    return guess(item, io->stat_path(io, path, &st) == 0, out);
}

uint64_t tlog_origin_start(const struct tlog_io *io, const char *dir, uint32_t number)
{
    char path[TLOG_NAME_BYTES], *text;
    uint64_t start = 0;
    if (snprintf(path, sizeof path, "%s/origin", dir) >= (int)sizeof path || tlog_file_read(io, path, &text, NULL) < 0)
        return 0;
    for (const char *at = value_of(text, "start"); at; at = value_of(at, "start")) {
        uint32_t n;
        uint64_t pos;
        if (sscanf(at, "%" SCNu32 " %" SCNu64, &n, &pos) == 2 && n == number)
            start = pos;
    }
    free(text);
    return start;
}
