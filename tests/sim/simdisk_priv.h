/* What the simulated disk is made of; for its own files only. The disk's mutex guards everything here. */
#ifndef SIMDISK_PRIV_H
#define SIMDISK_PRIV_H

#include "simdisk.h"

#include <pthread.h>

enum { SIM_SECTOR = 512, SIM_BLOCK = 4096, SIM_ROOT = 1 };

/* A change of a file that is not durable yet: bytes written, or (data NULL) a new size. */
struct sim_event {
    unsigned char *data;
    size_t foff, length;
    size_t size_after;
    bool shrinks;
};

struct sim_name {
    char *name;
    uint64_t inode;
};

struct sim_names {
    struct sim_name *at;
    size_t count, capacity;
};

struct sim_inode {
    uint64_t number;
    bool directory;
    /* a file: what reads see, what is durable, and the way from one to the other */
    unsigned char *data, *disk;
    size_t size, capacity;
    size_t disk_size, disk_capacity;
    struct sim_event *events;
    size_t event_count, event_capacity;
    bool tainted;          /* a sync failed: clean pages differ from the disk until they are written again */
    unsigned char *blocks; /* a byte for each 4 KiB: whether space is taken */
    size_t block_count;
    int mirror; /* memfd with the bytes, once mapped; else -1 */
    size_t bad_from, bad_to;
    int64_t mtime_ns;
    bool locked, linked; /* linked: it has a name as seen; space and inode are given back when nothing holds it */
    unsigned open;
    /* a directory: as seen, and as durable */
    struct sim_names names, disk_names;
};

/* An operation on names that is not durable yet: at most two entries change, together. */
struct sim_name_op {
    uint64_t inode; /* the one that was created, moved or removed */
    struct {
        uint64_t directory, inode; /* inode 0: no such entry */
        char *name;
    } set[2];
    int count;
};

struct sim_open_file {
    uint64_t inode; /* 0: free */
    bool writable, locks;
    char path[128]; /* the end of the path it was opened by */
};

struct simdisk {
    struct tlog_io io; /* first: an io is its disk */
    pthread_mutex_t lock;
    struct sim_inode **inodes; /* by number; NULL: gone */
    size_t inode_count, inode_capacity;
    struct sim_name_op *name_ops;
    size_t name_op_count, name_op_capacity;
    struct sim_open_file *files;
    unsigned file_count, max_files;
    uint64_t blocks, blocks_used, inodes_max, inodes_used;
    struct sim_random random;
    int64_t realtime_ns, boottime_ns;
    uint64_t boot;
    uint64_t counts[SIM_KINDS];
    unsigned fault_kinds;
    uint64_t fault_skip;
    int fault_error;
    bool fault_forever, fault_struck;
    uint64_t stop_skip;
    bool stop_armed, stopped;
    const char *lie_sync, *lie_sync_dir;
    void (*hook)(void *arg, enum sim_kind kind, const char *path);
    void *hook_arg;
    /* the write under way, while its hook runs and in clones made then */
    uint64_t torn_inode;
    size_t torn_foff, torn_length;
    unsigned char *torn_data;
};

void *sim_grow(void *array, size_t *capacity, size_t count, size_t each);

/* simdisk_data.c */
struct sim_inode *sim_inode_new(struct simdisk *disk, bool directory);
void sim_inode_free(struct sim_inode *inode);
struct sim_inode *sim_inode_clone(const struct sim_inode *from);
int sim_data_write(struct simdisk *disk, struct sim_inode *inode, const void *from, size_t length, size_t foff);
void sim_data_truncate(struct simdisk *disk, struct sim_inode *inode, size_t size);
int sim_data_reserve(struct simdisk *disk, struct sim_inode *inode, size_t foff, size_t length);
void sim_data_sync(struct sim_inode *inode);
/* The sync fails: some sectors, as `random` says, get to the disk, the others count as clean. */
void sim_data_sync_failed(struct sim_inode *inode, struct sim_random *random);
/* What a power cut leaves of the file becomes both what is seen and what is durable. */
void sim_data_power_cut(struct sim_inode *inode, struct sim_random *random);
/* Gives back the space of a file that has no name and no descriptor. */
void sim_data_drop(struct simdisk *disk, struct sim_inode *inode);

/* simdisk_names.c */
struct sim_inode *sim_inode_get(const struct simdisk *disk, uint64_t number);
uint64_t sim_names_find(const struct sim_names *names, const char *name);
void sim_names_set(struct sim_names *names, const char *name, uint64_t inode);
void sim_names_release(struct sim_names *names);
void sim_names_copy(struct sim_names *to, const struct sim_names *from);
/* The inode at the path, or -errno in *error. */
struct sim_inode *sim_path_find(const struct simdisk *disk, const char *path, int *error);
/* The directory that holds the path's last name, which goes to `name`; NULL and *error otherwise. */
struct sim_inode *sim_path_parent(const struct simdisk *disk, const char *path, char name[256], int *error);
/* Applies the change to what is seen and remembers it as not durable. */
void sim_names_change(struct simdisk *disk, const struct sim_name_op *op);
void sim_names_sync(struct simdisk *disk, uint64_t directory);
void sim_names_power_cut(struct simdisk *disk, struct sim_random *random);
void sim_name_op_release(struct sim_name_op *op);
/* Frees every inode that no name, descriptor or undecided operation leads to, and counts the space anew. */
void sim_collect(struct simdisk *disk);

/* simdisk_io.c */
extern const struct tlog_io sim_io;

#endif
