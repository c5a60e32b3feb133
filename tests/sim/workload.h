/* A seeded workload on a store on a simulated disk, with the model beside it, and what a crash is made of. */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include "model.h"
#include "simdisk.h"

enum { WORK_WRITERS = 6, WORK_PINS = 2 };

struct work_writer {
    struct tlog_writer *writer; /* NULL: free */
    struct model_partition *partition;
    struct model_rest *rest; /* the unfinished line it holds, or NULL */
};

struct work_pin {
    struct tlog_pin pin;
    struct model_partition *partition; /* NULL: free */
};

struct work {
    uint64_t seed;
    struct simdisk *disk;
    struct tlog_store *store;
    struct model model;
    struct sim_random random;
    struct work_writer writers[WORK_WRITERS];
    struct work_pin pins[WORK_PINS];
    struct model_flight flight; /* the call under way */
    uint64_t lines;             /* begun so far: each has a number */
    uint64_t step;
    const char *what; /* the step, for messages */
    unsigned max_files;
    bool large;   /* some writes are of more than 256 KiB */
    bool topics;  /* topics come, go and change their names */
    bool keeps;   /* much is sealed, trimmed and pinned */
    bool lingers; /* raw files stay for long */
    bool faulty;  /* the disk fails now and then: errors are answers like others */
    bool struck;  /* an error was answered */
    const char *keeping_lie_sync, *keeping_lie_sync_dir; /* see simdisk_lie: while it seals and trims */
    bool lies;                                           /* the disk does not keep what it was told to sync */
    enum model_crash floor;                              /* the worst that happened before the recovery under way */
    /* Called when a call has returned and the model still is what it was before. */
    void (*returned)(struct work *work);
    void *arg;
};

/* Makes an empty disk and opens a store on it. */
bool work_start(struct work *work, uint64_t seed, const struct simdisk_options *options);
/* Frees everything; the store is closed with the world stopped, as if it were killed. */
void work_release(struct work *work);
/* One step of the workload; false when the model complains. */
bool work_step(struct work *work);
/* Writers, references and the store are given back. Returns what tlog_store_close said. */
int work_close(struct work *work);
/* Opens the store on work->disk after a crash of that kind, judges it and goes on from what was found. */
bool work_reopen(struct work *work, enum model_crash crash);
/* Kills (or unplugs) the store, and goes on from there. */
bool work_crash(struct work *work, enum model_crash crash, uint64_t seed);
/* All partitions of the living store hold exactly what they should. */
bool work_check_live(struct work *work);

int work_open(struct simdisk *disk, const struct work *work, struct tlog_store **out, struct tlog_error *error);
/* What the store tells people, printed with TOPICFS_SIM_NOTES. */
void work_note(void *arg, const char *line);
/* Closes a store whose process is to count as dead. */
void work_bury(struct simdisk *disk, struct tlog_store *store);

/* With TOPICFS_SIM_NOTES set, prints the disk's files, for people. */
void work_show(struct simdisk *disk, const char *when);

/* How often and how long: TOPICFS_TEST_SCALE, a decimal fraction, times `count`, at least 1. */
unsigned work_scaled(unsigned count);
/* The seeds to run: `first`, first + 1, ... `*count` of them; or only TOPICFS_SIM_SEED, when it is set. */
uint64_t work_seeds(uint64_t first, unsigned *count);

#endif
