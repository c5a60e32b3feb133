#include "node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "daemon.h"
#include "generation.h"
#include "tree.h"

/* ---- inode numbers ---- */

uint64_t tfs_ino_of(const void *key, size_t bytes)
{
    uint64_t ino = XXH3_64bits(key, bytes);

    return ino > FUSE_ROOT_ID ? ino : ino + 2;
}

static uint64_t hash_ino(const struct tlog_topic *topic, enum tfs_kind kind, uint64_t number, uint64_t born)
{
    struct {
        uint8_t topic[16];
        uint64_t kind, number, born;
    } key = {.kind = (uint64_t)kind, .number = number, .born = born};

    if (topic != NULL)
        memcpy(key.topic, tlog_topic_id(topic), sizeof key.topic);
    return tfs_ino_of(&key, sizeof key);
}

uint64_t tfs_topic_ino(const struct tlog_topic *topic)
{
    return hash_ino(topic, TFS_TOPIC, 0, 0);
}

uint64_t tfs_partition_ino(struct tlog_topic *topic, unsigned number)
{
    return hash_ino(topic, TFS_PARTITION, number, tlog_topic_born(topic, number));
}

/* ---- what nodes of one partition share; under nodes.lock ---- */

static struct tfs_part *take_part(struct tfs *fs, struct tlog_partition *partition)
{
    struct tfs_part *part = tlog_partition_user(partition);

    if (part != NULL) {
        part->refs++;
        return part;
    }
    part = calloc(1, sizeof *part);
    if (part == NULL)
        return NULL;
    part->partition = tlog_partition_ref(partition);
    part->refs = 1;
    pthread_mutex_init(&part->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&part->released, &monotonic);
    pthread_condattr_destroy(&monotonic);
    tfs_locks_init(&part->locks);
    tfs_notify_attach(&fs->notify, part);
    return part;
}

static void drop_part(struct tfs *fs, struct tfs_part *part)
{
    if (part == NULL || --part->refs > 0)
        return;
    tfs_notify_detach(&fs->notify, part);
    tfs_locks_release(&part->locks);
    pthread_cond_destroy(&part->released);
    pthread_mutex_destroy(&part->lock);
    tlog_partition_unref(part->partition);
    free(part);
}

/* ---- the table; under nodes.lock ---- */

static struct tfs_node **bucket_of(struct tfs_nodes *nodes, uint64_t ino)
{
    return &nodes->buckets[ino % TFS_NODE_BUCKETS];
}

static struct tfs_node *find(struct tfs_nodes *nodes, enum tfs_kind kind, const struct tlog_topic *topic, uint64_t ino)
{
    struct tfs_node *node = *bucket_of(nodes, ino);

    while (node != NULL && (node->stale || node->ino != ino || node->kind != kind || node->topic != topic))
        node = node->next;
    return node;
}

static struct tfs_node *find_in_tree(struct tfs_nodes *nodes, const struct tfs_node *directory, uint64_t ino)
{
    struct tfs_node *node = *bucket_of(nodes, ino);

    while (node != NULL && (node->stale || node->ino != ino || node->kind != TFS_TREE || node->directory != directory))
        node = node->next;
    return node;
}

static void unhash(struct tfs_nodes *nodes, struct tfs_node *node)
{
    struct tfs_node **at = bucket_of(nodes, node->ino);

    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
}

static struct tfs_node *new_node(struct tfs_nodes *nodes, enum tfs_kind kind, struct tlog_topic *topic, uint64_t ino)
{
    struct tfs_node *node = calloc(1, sizeof *node);

    if (node == NULL)
        return NULL;
    node->kind = kind;
    node->topic = topic;
    node->ino = ino;
    node->refs = 1;
    if (kind == TFS_VIRTUAL || kind == TFS_TREE)
        tfs_locks_init(&node->locks);
    node->next = *bucket_of(nodes, ino);
    *bucket_of(nodes, ino) = node;
    return node;
}

static void free_node(struct tfs *fs, struct tfs_node *node)
{
    unhash(&fs->nodes, node);
    drop_part(fs, node->part);
    if (node->kind == TFS_TOPIC)
        tlog_topic_unref(node->topic);
    struct tfs_node *directory = node->directory;
    if (node->kind == TFS_VIRTUAL || node->kind == TFS_TREE)
        tfs_locks_release(&node->locks);
    if (node->kind == TFS_TREE && node->tree->drop != NULL)
        node->tree->drop(fs, node->item);
    free(node);
    if (directory != NULL && directory != &fs->nodes.root && --directory->refs == 0)
        free_node(fs, directory);
}

/* ---- the interface ---- */

void tfs_nodes_init(struct tfs *fs)
{
    pthread_mutex_init(&fs->nodes.lock, NULL);
    fs->nodes.root = (struct tfs_node){.kind = TFS_ROOT, .ino = FUSE_ROOT_ID, .refs = 1};
}

void tfs_nodes_release(struct tfs *fs)
{
    enum { DETACH, FREE_OTHERS, FREE_TOPICS, STEPS };

    for (int step = 0; step < STEPS; step++)
        for (size_t i = 0; i < TFS_NODE_BUCKETS; i++)
            for (struct tfs_node *node = fs->nodes.buckets[i], *next; node != NULL; node = next) {
                next = node->next;
                if (step == DETACH)
                    node->directory = NULL;
                else if (step == FREE_TOPICS || node->kind != TFS_TOPIC)
                    free_node(fs, node);
            }
    pthread_mutex_destroy(&fs->nodes.lock);
}

struct tfs_node *tfs_node_get(struct tfs *fs, uint64_t nodeid)
{
    return nodeid == FUSE_ROOT_ID ? &fs->nodes.root : (struct tfs_node *)(uintptr_t)nodeid;
}

uint64_t tfs_node_id(const struct tfs *fs, const struct tfs_node *node)
{
    return node == &fs->nodes.root ? FUSE_ROOT_ID : (uint64_t)(uintptr_t)node;
}

void tfs_node_ref(struct tfs *fs, struct tfs_node *node)
{
    pthread_mutex_lock(&fs->nodes.lock);
    node->refs++;
    pthread_mutex_unlock(&fs->nodes.lock);
}

void tfs_node_unref(struct tfs *fs, struct tfs_node *node, uint64_t count)
{
    if (node == &fs->nodes.root)
        return;
    pthread_mutex_lock(&fs->nodes.lock);
    node->refs = node->refs > count ? node->refs - count : 0;
    if (node->refs == 0)
        free_node(fs, node);
    pthread_mutex_unlock(&fs->nodes.lock);
}

int tfs_node_find_topic(struct tfs *fs, const char *name, struct tfs_node **out)
{
    struct tlog_topic *topic = tlog_topic_get(fs->store, name);

    if (topic == NULL)
        return -ENOENT;
    pthread_mutex_lock(&fs->nodes.lock);
    struct tfs_node *node = find(&fs->nodes, TFS_TOPIC, topic, tfs_topic_ino(topic));
    if (node != NULL) {
        node->refs++;
        tlog_topic_unref(topic);
    } else {
        node = new_node(&fs->nodes, TFS_TOPIC, topic, tfs_topic_ino(topic));
        if (node == NULL)
            tlog_topic_unref(topic);
    }
    pthread_mutex_unlock(&fs->nodes.lock);
    *out = node;
    return node != NULL ? 0 : -ENOMEM;
}

/* A node for the partition: the one it has while its base stands, else a new one. */
static struct tfs_node *partition_node(struct tfs *fs, struct tlog_topic *topic, struct tlog_partition *partition,
                                       enum tfs_kind kind, uint64_t ino)
{
    struct tfs_node *node = find(&fs->nodes, kind, topic, ino);
    struct tlog_bounds bounds;

    tlog_partition_bounds(partition, &bounds);
    if (node != NULL && node->part->partition == partition && node->base == bounds.start) {
        node->refs++;
        return node;
    }
    struct tfs_part *part = take_part(fs, partition);
    if (part == NULL)
        return NULL;
    if (node != NULL)
        node->stale = true;
    node = new_node(&fs->nodes, kind, tlog_partition_topic(partition), ino);
    if (node == NULL) {
        drop_part(fs, part);
        return NULL;
    }
    node->part = part;
    node->base = bounds.start;
    return node;
}

int tfs_node_find_partition(struct tfs *fs, struct tlog_topic *topic, unsigned number, struct tfs_node **out)
{
    struct tlog_partition *partition = tlog_partition_get(topic, number);

    if (partition == NULL)
        return -ENOENT;
    pthread_mutex_lock(&fs->nodes.lock);
    *out = partition_node(fs, topic, partition, TFS_PARTITION, tfs_partition_ino(topic, number));
    pthread_mutex_unlock(&fs->nodes.lock);
    tlog_partition_unref(partition);
    return *out != NULL ? 0 : -ENOMEM;
}

int tfs_node_make_door(struct tfs *fs, struct tlog_topic *topic, unsigned number, struct tfs_node **out)
{
    struct tlog_partition *partition = tlog_partition_get(topic, number);

    if (partition == NULL)
        return -ENOENT;
    pthread_mutex_lock(&fs->nodes.lock);
    uint64_t door = ++fs->nodes.doors << 32 | number;
    *out = partition_node(fs, topic, partition, TFS_DOOR, hash_ino(topic, TFS_DOOR, door, 0));
    pthread_mutex_unlock(&fs->nodes.lock);
    tlog_partition_unref(partition);
    return *out != NULL ? 0 : -ENOMEM;
}

int tfs_node_find_virtual(struct tfs *fs, struct tfs_node *directory, enum tfs_virtual which, struct tfs_node **out)
{
    uint64_t ino = hash_ino(directory->topic, TFS_VIRTUAL, (uint64_t)which, 0);

    pthread_mutex_lock(&fs->nodes.lock);
    struct tfs_node *node = find(&fs->nodes, TFS_VIRTUAL, directory->topic, ino);
    if (node != NULL) {
        node->refs++;
    } else {
        node = new_node(&fs->nodes, TFS_VIRTUAL, directory->topic, ino);
        if (node != NULL) {
            node->virtual = which;
            node->directory = directory;
            directory->refs++;
        }
    }
    pthread_mutex_unlock(&fs->nodes.lock);
    *out = node;
    return node != NULL ? 0 : -ENOMEM;
}

int tfs_node_find_in_tree(struct tfs *fs, struct tfs_node *directory, const struct tfs_tree *tree, uint64_t ino,
                          void *item, struct tfs_node **out)
{
    pthread_mutex_lock(&fs->nodes.lock);
    struct tfs_node *old = find_in_tree(&fs->nodes, directory, ino);
    struct tfs_node *node = old != NULL && tree->same(old->item, item) ? old : NULL;

    if (node != NULL) {
        node->refs++;
    } else {
        if (old != NULL)
            old->stale = true;
        node = new_node(&fs->nodes, TFS_TREE, directory->topic, ino);
        if (node != NULL) {
            node->tree = tree;
            node->item = item;
            node->directory = directory;
            directory->refs++;
            item = NULL;
        }
    }
    pthread_mutex_unlock(&fs->nodes.lock);
    if (item != NULL && tree->drop != NULL)
        tree->drop(fs, item);
    *out = node;
    return node != NULL ? 0 : -ENOMEM;
}

void tfs_node_unname(struct tfs *fs, const struct tlog_partition *partition)
{
    uint64_t ino = tfs_partition_ino(tlog_partition_topic(partition), tlog_partition_number(partition));

    pthread_mutex_lock(&fs->nodes.lock);
    for (struct tfs_node *node = *bucket_of(&fs->nodes, ino); node != NULL; node = node->next)
        if (node->kind == TFS_PARTITION && node->part->partition == partition)
            tfs_generation_unname(node);
    pthread_mutex_unlock(&fs->nodes.lock);
}

struct tfs_node *tfs_node_of_topic(struct tfs *fs, const struct tlog_topic *topic)
{
    pthread_mutex_lock(&fs->nodes.lock);
    struct tfs_node *node = find(&fs->nodes, TFS_TOPIC, topic, tfs_topic_ino(topic));
    if (node != NULL)
        node->refs++;
    pthread_mutex_unlock(&fs->nodes.lock);
    return node;
}

struct tfs_locks *tfs_node_locks(struct tfs_node *node)
{
    return node->part != NULL ? &node->part->locks : &node->locks;
}

void tfs_node_tell_size(struct tfs_node *node, uint64_t size)
{
    struct tfs_told *told = &node->told;

    pthread_mutex_lock(&node->part->lock);
    if (told->count == 0 || told->sizes[(told->count - 1) % TFS_TOLD] != size)
        told->sizes[told->count++ % TFS_TOLD] = size;
    pthread_mutex_unlock(&node->part->lock);
}

uint64_t tfs_node_told_last(struct tfs_node *node)
{
    pthread_mutex_lock(&node->part->lock);
    uint64_t last = node->told.count > 0 ? node->told.count - 1 : 0;
    pthread_mutex_unlock(&node->part->lock);
    return last;
}

bool tfs_node_told_since(struct tfs_node *node, uint64_t first, uint64_t size)
{
    const struct tfs_told *told = &node->told;
    bool found = false;

    pthread_mutex_lock(&node->part->lock);
    if (first + TFS_TOLD < told->count)
        first = told->count - TFS_TOLD;
    for (uint64_t i = first; i < told->count && !found; i++)
        found = told->sizes[i % TFS_TOLD] == size;
    pthread_mutex_unlock(&node->part->lock);
    return found;
}
