/* Runs a workload and kills and unplugs it at every mutating operation of the disk. */
#ifndef UNPLUG_H
#define UNPLUG_H

#include "workload.h"

struct unplug_options {
    unsigned steps;
    unsigned cuts;           /* power cuts tried at each operation, beside one kill */
    unsigned nested_percent; /* of the recoveries: each of their operations is a crash point too */
    unsigned more_percent;   /* of the recoveries: appended to, synced, unplugged again, closed, verified */
    unsigned crash_percent;  /* of the steps: the workload itself is killed or unplugged and goes on */
    unsigned point_percent;  /* of the operations looked at; 0: all */
    bool copies;             /* the store is copied while it runs, and the copies judged */
    bool large, topics;
    bool keeps;                          /* sealing, trimming and pinning are most of it */
    const char *lie_sync, *lie_sync_dir; /* see simdisk_lie */
    bool lie_keeping;                    /* only while the store seals and trims */
};

struct unplug_result {
    char why[2048]; /* empty: all is well */
    uint64_t operations, recoveries, nested, copies, kept, lost, ended, sealed, trimmed;
};

/* One workload of that seed. Returns whether all is well. */
bool unplug_run(uint64_t seed, const struct unplug_options *options, struct unplug_result *result);

#endif
