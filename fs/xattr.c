/* Extended attributes: where a partition stands and what its topic's keys are, to be read, never set. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"
#include "release.h"

#define PREFIX "user.topicfs."

enum { VALUE_BYTES = 32 };

struct attribute {
    const char *name;
    size_t offset;
    enum { U64, U32, CHAIN, RECORDS } form;
};

static const struct attribute attributes[] = {
    {"base", 0, U64}, /* the node's, not the log's */
    {"start", offsetof(struct tlog_bounds, start), U64},
    {"end", offsetof(struct tlog_bounds, end), U64},
    {"committed", offsetof(struct tlog_bounds, committed), U64},
    {"durable", offsetof(struct tlog_bounds, durable), U64},
    {"pending", offsetof(struct tlog_bounds, pending), U64},
    {"records", 0, RECORDS},
    {"epoch", offsetof(struct tlog_bounds, epoch), U32},
    {"leader", offsetof(struct tlog_bounds, leader), U32},
    {"segments", offsetof(struct tlog_bounds, segments), U64},
    {"sealed", offsetof(struct tlog_bounds, sealed_bytes), U64},
    {"chain", offsetof(struct tlog_bounds, chain), CHAIN},
};
enum { ATTRIBUTES = sizeof attributes / sizeof *attributes };

static void format(const struct attribute *attribute, const struct tfs_node *node, char to[VALUE_BYTES])
{
    struct tlog_bounds bounds;

    tlog_partition_bounds(node->part->partition, &bounds);
    const char *field = (const char *)&bounds + attribute->offset;
    switch (attribute->form) {
    case U64:
        snprintf(to, VALUE_BYTES, "%" PRIu64,
                 attribute->offset == 0 && attribute == attributes ? node->base
                                                                   : *(const uint64_t *)(const void *)field);
        break;
    case U32:
        snprintf(to, VALUE_BYTES, "%" PRIu32, *(const uint32_t *)(const void *)field);
        break;
    case CHAIN:
        snprintf(to, VALUE_BYTES, "%016" PRIx64, bounds.chain);
        break;
    case RECORDS:
        snprintf(to, VALUE_BYTES, "%" PRIu64, bounds.end_seq - bounds.start_seq);
        break;
    }
}

/* Whether the node has the attribute (a name without prefix), and its value. */
static bool find(const struct tfs_node *node, const char *name, char to[VALUE_BYTES])
{
    if (node->part != NULL)
        for (size_t i = 0; i < ATTRIBUTES; i++)
            if (strcmp(name, attributes[i].name) == 0) {
                format(&attributes[i], node, to);
                return true;
            }
    if (node->part == NULL && node->kind != TFS_TOPIC)
        return false;
    for (int key = 0; key < TLOG_KEYS; key++)
        if (strcmp(name, tlog_key_name((enum tlog_key)key)) == 0) {
            tlog_key_format((enum tlog_key)key, tlog_topic_value(node->topic, (enum tlog_key)key), to);
            return true;
        }
    return false;
}

void tfs_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t bytes)
{
    struct tfs_node *node = tfs_node_get(tfs_of(req), ino);
    char value[VALUE_BYTES];

    if (tfs_answered_stale(req, node, NULL))
        return;
    if (strncmp(name, "user.", 5) != 0) {
        fuse_reply_err(req, strncmp(name, "security.", 9) == 0 ? ENODATA : EOPNOTSUPP);
        return;
    }
    if (node->part != NULL)
        tfs_release_await(node->part);
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 || !find(node, name + strlen(PREFIX), value))
        fuse_reply_err(req, ENODATA);
    else if (bytes == 0)
        fuse_reply_xattr(req, strlen(value));
    else if (bytes < strlen(value))
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, value, strlen(value));
}

static void put_name(FILE *to, const char *name)
{
    fprintf(to, PREFIX "%s", name);
    fputc('\0', to);
}

void tfs_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t bytes)
{
    struct tfs_node *node = tfs_node_get(tfs_of(req), ino);
    char *list = NULL;
    size_t length = 0;

    if (tfs_answered_stale(req, node, NULL))
        return;
    FILE *to = open_memstream(&list, &length);

    if (to == NULL) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    if (node->part != NULL)
        for (size_t i = 0; i < ATTRIBUTES; i++)
            put_name(to, attributes[i].name);
    if (node->part != NULL || node->kind == TFS_TOPIC)
        for (int key = 0; key < TLOG_KEYS; key++)
            put_name(to, tlog_key_name((enum tlog_key)key));
    if (fclose(to) != 0)
        fuse_reply_err(req, ENOMEM);
    else if (bytes == 0)
        fuse_reply_xattr(req, length);
    else if (bytes < length)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, list, length);
    free(list);
}

static int refusal(const char *name)
{
    return strncmp(name, PREFIX, strlen(PREFIX)) == 0 ? EPERM : EOPNOTSUPP;
}

void tfs_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t bytes, int flags)
{
    (void)ino, (void)value, (void)bytes, (void)flags;
    fuse_reply_err(req, refusal(name));
}

void tfs_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    (void)ino;
    fuse_reply_err(req, refusal(name));
}
