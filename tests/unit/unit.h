/* What the unit tests of log/ share: a store on the simulated disk or on real files, crashed, reopened and looked
 * into. A test gives back nothing: partitions, topics and writers that it got here are released with the store.
 *
 * No background thread runs unless a test asks for one (options.no_upkeep), so that clocks and rounds of upkeep are
 * the test's own. */
#ifndef UNIT_H
#define UNIT_H

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "log/store.h"
#include "simdisk.h"

struct unit {
    struct simdisk *disk; /* NULL: real files */
    const struct tlog_io *io;
    char base[64], path[96]; /* of everything, of the store */
    struct tlog_options options;
    struct tlog_store *store;
    struct tlog_error error;
    char notes[16384]; /* a line each */
    atomic_uint grown; /* calls */
    void *refs[64];    /* what is given back before the store is closed */
    char kinds[64];    /* 'p'artition, 't'opic, 'w'riter */
    unsigned ref_count;
};

/* The simulated disk as it was before each operation, from unit_clone_on to unit_clone_off. */
enum { UNIT_CLONES = 512 };
struct unit_clones {
    struct simdisk *source, *points[UNIT_CLONES];
    unsigned count;
};
void unit_clone_on(struct unit *u, struct unit_clones *clones);
void unit_clone_off(struct unit *u);

/* Fixtures: *state is a struct unit whose store is not open yet. */
int unit_setup_sim(void **state);
int unit_setup_real(void **state);
/* As real, in memory where there is such a place: for tests of many files. */
int unit_setup_memory(void **state);
int unit_teardown(void **state);
#define UNIT_SIM(test)                                                                                                 \
    {                                                                                                                  \
#test " (sim)", test, unit_setup_sim, unit_teardown, NULL                                                      \
    }
#define UNIT_REAL(test)                                                                                                \
    {                                                                                                                  \
#test " (files)", test, unit_setup_real, unit_teardown, NULL                                                   \
    }
#define UNIT_MEMORY(test)                                                                                              \
    {                                                                                                                  \
#test " (memory)", test, unit_setup_memory, unit_teardown, NULL                                                \
    }
#define UNIT_BOTH(test) UNIT_SIM(test), UNIT_REAL(test)

/* ---- the store ---- */

int unit_try_open(struct unit *u);
void unit_open(struct unit *u);
void unit_close(struct unit *u);
int unit_try_close(struct unit *u);
void unit_reopen(struct unit *u);
/* The process is killed, or the machine dies, at this moment: what the store would still have done is not done. The
 * store is closed afterwards. Simulated disk only. */
void unit_kill(struct unit *u);
void unit_power_cut(struct unit *u, uint64_t seed);
/* Gives back what is held. */
void unit_release(struct unit *u);
struct tlog_recovery unit_recovery(struct unit *u);
/* Time passes, then upkeep does what is due. */
void unit_advance(struct unit *u, int64_t ms);

/* ---- topics and partitions ---- */

struct tlog_topic *unit_topic(struct unit *u, const char *name);
/* Partition `number` of topic `name`, both made when missing. */
struct tlog_partition *unit_partition(struct unit *u, const char *name, unsigned number);
/* The same, which must be there. */
struct tlog_partition *unit_get(struct unit *u, const char *name, unsigned number);
void unit_config(struct unit *u, const char *topic, const char *text);
struct tlog_writer *unit_writer(struct unit *u, struct tlog_partition *p);
void unit_writer_close(struct unit *u, struct tlog_writer *writer);
/* One write(2) of text through a writer or without: lines end where the newlines are. */
ssize_t unit_write(struct tlog_writer *writer, const char *text);
int unit_append(struct tlog_partition *p, const char *text);
/* Appends lines "NUMBER xxx…" of `bytes` bytes each, one an append. */
void unit_lines(struct tlog_partition *p, unsigned from, unsigned count, unsigned bytes);
/* What unit_lines would append, to be freed. */
char *unit_lines_text(unsigned from, unsigned count, unsigned bytes);
struct tlog_bounds unit_bounds(struct tlog_partition *p);
/* All of it from start to end, to be freed. */
char *unit_text(struct tlog_partition *p);
void unit_assert_text(struct tlog_partition *p, const char *expected);
/* It holds what unit_lines_text gives, and nothing else. */
void unit_assert_lines(struct tlog_partition *p, unsigned from, unsigned count, unsigned bytes);
/* The number of closed entries. */
unsigned unit_entries(struct tlog_partition *p);

/* ---- files: paths are below the store ---- */

bool unit_exists(struct unit *u, const char *name);
uint64_t unit_size(struct unit *u, const char *name);
/* To be freed, NUL-terminated. */
char *unit_file(struct unit *u, const char *name, size_t *bytes);
void unit_put(struct unit *u, const char *name, uint64_t foff, const void *data, size_t bytes);
void unit_truncate(struct unit *u, const char *name, uint64_t bytes);
void unit_unlink(struct unit *u, const char *name);
/* One byte becomes another. */
void unit_flip(struct unit *u, const char *name, uint64_t foff);
/* Copies the whole store to another place and goes on with the copy. The store must be closed. */
void unit_copy_store(struct unit *u);
/* How many names a directory has that begin with this. */
unsigned unit_count(struct unit *u, const char *dir, const char *prefix);

/* Seals the segment at `pos` of the partition in `dir` ("topics/t/0/"); `raw_stays`: its raw files linger. The store
 * must be closed. */
void unit_seal(struct unit *u, const char *dir, uint64_t pos, bool raw_stays);
/* The same for a segment of an open partition, as sealing does it. */
void unit_seal_live(struct unit *u, struct tlog_partition *p, uint64_t pos, bool raw_stays);

/* ---- io with a gate: Linux's system calls, of which a test holds back or refuses some ---- */

struct unit_gate {
    struct tlog_io io;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    bool shut;       /* syncs wait */
    bool one_thread; /* those of this one */
    pthread_t thread;
    bool pretend;          /* they do nothing */
    unsigned inside;       /* that wait */
    unsigned syncs;        /* that were done or refused */
    unsigned refuse_after; /* this many more are done, then one is refused; UINT_MAX: none */
    /* Called once, before the next sync of a directory. */
    void (*before_sync_dir)(void *arg);
    void *arg;
};
extern struct unit_gate unit_gate;
/* Opens the gate wide and lets u use it; before its store is opened. */
void unit_gate_use(struct unit *u);
void unit_gate_shut(bool shut);
/* Waits until that many syncs stand before it. */
void unit_gate_wait(unsigned inside);
/* Waits for a condition, 10 s at most. */
void unit_wait(bool (*condition)(void *arg), void *arg);

/* ---- verification: the store must be closed ---- */

/* The sentences, a line each; unit_verified has the counts. */
const char *unit_verify(struct unit *u);
extern struct tlog_verify unit_verified;

#endif
