/* Nodes: what the kernel knows by a nodeid. A node's address is its nodeid (the root's is FUSE_ROOT_ID); it lives as
 * long as the kernel's lookups of it plus the open files on it.
 *
 * A partition's name gives one node as long as its base stands still; when the head has been trimmed, the next lookup
 * gives another node under the same st_ino (generation.h). What all nodes of one partition share (locks, who polls, an
 * expected release) is its struct tfs_part. `0@append` gives a new node each lookup. Nodes of the hidden trees (tree.h)
 * hang on those of their directories.
 *
 * Any thread. Functions that find a node give a reference: it becomes a lookup of the kernel's, or is given back. */
#ifndef TFS_NODE_H
#define TFS_NODE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lock.h"
#include "throttle.h"
#include "log/topiclog.h"

struct tfs;
struct tfs_handle;
struct tfs_tree;

enum tfs_kind { TFS_ROOT, TFS_TOPIC, TFS_PARTITION, TFS_DOOR, TFS_VIRTUAL, TFS_TREE };
enum tfs_virtual { TFS_CONFIG, TFS_OFFSETS, TFS_STATUS };

/* One per partition that has a node. */
struct tfs_part {
    struct tlog_partition *partition; /* a reference */
    unsigned refs;                    /* nodes.lock */
    struct tfs_locks locks;
    struct tfs_charged charged;

    pthread_mutex_t lock;
    /* Between a flush that left an unfinished line and the release that ends it (release.h). */
    atomic_uint releasing;
    unsigned release_round;
    pthread_cond_t released;

    /* notify.lock */
    struct tfs_poller *pollers;
    bool grown, trimmed;
    struct tfs_part *grown_next, *trimmed_next;
    uint64_t trims, trims_told;
};

/* The sizes that stat gave lately, a repeated one once. */
enum { TFS_TOLD = 16 };
struct tfs_told {
    uint64_t sizes[TFS_TOLD];
    uint64_t count; /* so many ever */
};

/* What a generation counts (generation.h). */
struct tfs_generation {
    unsigned opens, readers; /* open files, and those of them that may read */
    bool unnamed;            /* no name leads here any more */
    struct tlog_pin pin;     /* at the base, while there are readers */
};

struct tfs_node {
    enum tfs_kind kind;
    uint64_t ino;  /* st_ino: the same in every run */
    uint64_t refs; /* nodes.lock */
    bool stale;    /* nodes.lock; the name leads to a newer node */
    struct tfs_node *next;

    struct tlog_topic *topic;   /* NULL: the root's. A reference in a topic's node, else borrowed: */
    struct tfs_part *part;      /* by partitions and doors from this, */
    struct tfs_node *directory; /* by virtual files and trees from this, a reference */
    union {
        struct {                           /* of partitions and doors */
            uint64_t base;                 /* pos of the file's byte 0 */
            struct tfs_told told;          /* part->lock */
            struct tfs_generation current; /* part->lock */
        };
        struct { /* of others; a partition's locks are in part */
            struct tfs_locks locks;
            enum tfs_virtual virtual;
            const struct tfs_tree *tree;
            void *item; /* the tree's */
        };
    };
};

enum { TFS_NODE_BUCKETS = 4096 };
struct tfs_nodes {
    pthread_mutex_t lock;
    struct tfs_node *buckets[TFS_NODE_BUCKETS];
    struct tfs_node root;
    uint64_t doors; /* made so far */
};

void tfs_nodes_init(struct tfs *fs);
/* Frees every node, whatever the kernel still knows: for the end. */
void tfs_nodes_release(struct tfs *fs);

struct tfs_node *tfs_node_get(struct tfs *fs, uint64_t nodeid);
uint64_t tfs_node_id(const struct tfs *fs, const struct tfs_node *node);
void tfs_node_ref(struct tfs *fs, struct tfs_node *node);
void tfs_node_unref(struct tfs *fs, struct tfs_node *node, uint64_t count);

/* 0, or -ENOENT, -ENOMEM. */
int tfs_node_find_topic(struct tfs *fs, const char *name, struct tfs_node **out);
int tfs_node_find_partition(struct tfs *fs, struct tlog_topic *topic, unsigned number, struct tfs_node **out);
int tfs_node_make_door(struct tfs *fs, struct tlog_topic *topic, unsigned number, struct tfs_node **out);
int tfs_node_find_virtual(struct tfs *fs, struct tfs_node *directory, enum tfs_virtual which, struct tfs_node **out);
/* A tree's node in `directory`: the one that is there, if it is of the same item, else a new one. Takes the item. */
int tfs_node_find_in_tree(struct tfs *fs, struct tfs_node *directory, const struct tfs_tree *tree, uint64_t ino,
                          void *item, struct tfs_node **out);

/* The node of the topic's directory, if the kernel knows it; a reference, or NULL. */
struct tfs_node *tfs_node_of_topic(struct tfs *fs, const struct tlog_topic *topic);
/* The kernel has forgotten the partition's name: old generations are told that it leads to them no more. */
void tfs_node_unname(struct tfs *fs, const struct tlog_partition *partition);

/* An inode number made of anything. */
uint64_t tfs_ino_of(const void *key, size_t bytes);
/* st_ino of a topic's directory or of a partition of it, without a node. A partition made anew after it was deleted has
 * another one: by that `tail -F` sees that it has to open it. */
uint64_t tfs_topic_ino(const struct tlog_topic *topic);
uint64_t tfs_partition_ino(struct tlog_topic *topic, unsigned number);

/* Where the advisory locks of a file are. */
struct tfs_locks *tfs_node_locks(struct tfs_node *node);

/* Sizes told of a partition's node: which one is the newest, and whether that one or a later one is `size`. */
void tfs_node_tell_size(struct tfs_node *node, uint64_t size);
uint64_t tfs_node_told_last(struct tfs_node *node);
bool tfs_node_told_since(struct tfs_node *node, uint64_t first, uint64_t size);

#endif
