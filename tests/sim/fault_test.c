/* The disk refuses one operation, or is full for a while, and the store goes on: whatever was answered with an error
 * did not happen, everything else did, and a restart and a power cut find it so. For every operation of a workload. */
#include "steps.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 70, STEPS_AFTER = 12 };

struct fault {
    unsigned kinds;
    int error;
    bool forever;  /* until the restart */
    bool full;     /* not an error: the disk is full from there on for some steps */
    bool recovery; /* it strikes a recovery, not the steps */
};

struct faulty {
    struct work work;
    const struct fault *fault;
    uint64_t number, seen, used_at;
    unsigned full_steps;
    bool resized, met;
};

/* The disk becomes full at the operation, but for a little. */
static void full_hook(void *arg, enum sim_kind kind, const char *path)
{
    struct faulty *faulty = arg;
    (void)kind;
    (void)path;
    if (faulty->seen++ != faulty->number)
        return;
    faulty->resized = true;
    simdisk_resize(faulty->work.disk, simdisk_used_bytes(faulty->work.disk) + (faulty->number % 3) * 4096, 100000);
}

static void arm(struct faulty *faulty)
{
    if (faulty->fault->full)
        simdisk_hook(faulty->work.disk, full_hook, faulty);
    else
        simdisk_fail(faulty->work.disk, faulty->fault->kinds, faulty->number, faulty->fault->error,
                     faulty->fault->forever);
}

static void disarm(struct faulty *faulty)
{
    faulty->met |= faulty->fault->full ? faulty->resized : simdisk_failed(faulty->work.disk);
    simdisk_hook(faulty->work.disk, NULL, NULL);
    simdisk_fail(faulty->work.disk, 0, 0, 0, false);
    simdisk_resize(faulty->work.disk, 1U << 30, 100000);
}

static bool struck(struct faulty *faulty)
{
    return faulty->fault->full ? faulty->resized : simdisk_failed(faulty->work.disk);
}

/* Makes the store; a refusal on the way must leave something that can be made again. */
static bool start(struct faulty *faulty)
{
    struct work *work = &faulty->work;
    work->disk = simdisk_new(&(struct simdisk_options){.seed = work->seed});
    arm(faulty);
    if (work_start(work, work->seed, NULL))
        return true;
    if (!struck(faulty))
        return false;
    disarm(faulty);
    work->model.why[0] = '\0';
    if (work->store && work_close(work) == -EBADMSG)
        return model_fail(&work->model, "a store whose making failed is damaged");
    simdisk_kill(work->disk, 1);
    return work_start(work, work->seed, NULL);
}

static bool steps(struct work *work, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!work_step(work))
            return false;
    return true;
}

static bool restart(struct work *work, enum model_crash crash, uint64_t seed)
{
    work_crash(work, crash, seed);
    work->what = crash == MODEL_KILL ? "recovery after a kill" : "recovery after a power cut";
    return work_reopen(work, crash);
}

static bool sync_all(struct work *work)
{
    for (size_t i = 0; i < MODEL_TOPICS; i++)
        for (size_t j = 0; j < MODEL_PARTITIONS; j++) {
            struct model_partition *partition = &work->model.topics[i].partitions[j];
            if (!partition->handle)
                continue;
            int error = tlog_partition_sync_wait(partition->handle);
            if (error)
                return model_fail(&work->model, "after the restart a sync gave %d", error);
            model_partition_synced(partition);
        }
    return true;
}

/* Recovery meets the fault: it fails and leaves nothing worse, or it copes. The next one is let alone. */
static bool recovery_story(struct faulty *faulty)
{
    struct work *work = &faulty->work;
    work->topics = true;
    work->keeps = work->seed % 2 == 0;
    work->disk = simdisk_new(&(struct simdisk_options){.seed = work->seed});
    if (!work_start(work, work->seed, NULL) || !steps(work, STEPS))
        return false;
    enum model_crash crash = faulty->number % 2 ? MODEL_CUT : MODEL_KILL;
    work_crash(work, crash, faulty->number);
    work->what = "recovery with a fault";
    work->faulty = work->model.faulty = true;
    arm(faulty);
    struct tlog_error error;
    int result = work_open(work->disk, work, &work->store, &error);
    disarm(faulty);
    if (result == -EBADMSG && faulty->fault->error != EIO)
        return model_fail(&work->model, "a recovery that was refused a call speaks of damage: %s", error.text);
    if (result)
        work->store = NULL;
    else
        work_close(work);
    simdisk_kill(work->disk, 1);
    work->what = "recovery after a recovery with a fault";
    if (!work_reopen(work, crash))
        return false;
    work->faulty = work->model.faulty = false;
    if (!steps(work, STEPS_AFTER) || !sync_all(work))
        return false;
    return restart(work, MODEL_CUT, faulty->number);
}

/* The whole story of one fault. */
static bool story(struct faulty *faulty)
{
    struct work *work = &faulty->work;
    work->faulty = work->model.faulty = true;
    work->topics = true;
    work->keeps = work->seed % 2 == 0;
    if (!start(faulty) || !steps(work, STEPS))
        return false;
    work->what = "looking at the store that lives";
    if (!work_check_live(work))
        return false;
    disarm(faulty);
    if (faulty->fault->full) {
        /* there is room again: nothing may be refused any more, and what waited is appended */
        simdisk_advance(work->disk, 6000000000);
        (void)tlog_store_upkeep(work->store);
        if (!step_settle(work))
            return false;
        work->faulty = work->model.faulty = false;
        if (!steps(work, STEPS_AFTER) || !work_check_live(work))
            return false;
    }
    enum model_crash crash = faulty->number % 3 == 2 ? MODEL_CUT : MODEL_KILL;
    if (!restart(work, crash, faulty->number))
        return false;
    /* the restart made good what was doubtful: all works, and what is synced now survives */
    work->faulty = work->model.faulty = false;
    if (!steps(work, STEPS_AFTER) || !sync_all(work))
        return false;
    return restart(work, MODEL_CUT, faulty->number);
}

static void run(const char *name, const struct fault *fault, uint64_t first, unsigned count, unsigned stride)
{
    unsigned runs = 0;
    first = work_seeds(first, &count);
    const char *only = getenv("TOPICFS_SIM_NUMBER");
    for (uint64_t seed = first; seed < first + count; seed++)
        for (uint64_t number = only ? strtoull(only, NULL, 0) : seed % stride;; number += stride) {
            struct faulty *faulty = calloc(1, sizeof *faulty);
            faulty->fault = fault;
            faulty->number = number;
            faulty->work.seed = seed;
            model_init(&faulty->work.model, NULL);
            bool fine = fault->recovery ? recovery_story(faulty) : story(faulty), met = faulty->met;
            char why[sizeof faulty->work.model.why];
            memcpy(why, faulty->work.model.why, sizeof why);
            const char *what = faulty->work.what;
            uint64_t step = faulty->work.step;
            bool over =
                faulty->fault->full ? !faulty->resized : number >= simdisk_count(faulty->work.disk, fault->kinds);
            work_release(&faulty->work);
            free(faulty);
            runs += met;
            if (!fine)
                fail_msg("%s: seed %" PRIu64 ", operation %" PRIu64 ", step %" PRIu64
                         " (%s): %s (repeat with TOPICFS_SIM_SEED=%" PRIu64 " TOPICFS_SIM_NUMBER=%" PRIu64 ")",
                         name, seed, number, step, what, why, seed, number);
            if (only || over)
                break;
        }
    print_message("%s: %u runs met the fault\n", name, runs);
    if (!only)
        assert_true(runs > 0);
}

static void an_operation_fails(void **state)
{
    (void)state;
    run("EIO", &(struct fault){.kinds = SIM_MUTATING, .error = EIO}, 1001, 12, 1);
}

static void space_is_refused(void **state)
{
    const unsigned kinds = SIM_MUTATING & ~(1U << SIM_SYNC | 1U << SIM_SYNC_DIR | 1U << SIM_UNLINK | 1U << SIM_RMDIR);
    (void)state;
    run("ENOSPC", &(struct fault){.kinds = kinds, .error = ENOSPC}, 1101, 10, 1);
}

static void a_read_fails(void **state)
{
    const unsigned kinds = 1U << SIM_READ | 1U << SIM_MAP | 1U << SIM_STAT | 1U << SIM_OPEN | 1U << SIM_LIST;
    (void)state;
    run("EIO in reading", &(struct fault){.kinds = kinds, .error = EIO}, 1201, 20, 1);
}

static void descriptors_run_out(void **state)
{
    (void)state;
    run("EMFILE", &(struct fault){.kinds = 1U << SIM_OPEN | 1U << SIM_CREATE, .error = EMFILE}, 1301, 20, 1);
}

static void a_sync_fails(void **state)
{
    (void)state;
    run("a sync", &(struct fault){.kinds = 1U << SIM_SYNC | 1U << SIM_SYNC_DIR, .error = EIO}, 1401, 20, 1);
}

static void syncs_fail_until_the_restart(void **state)
{
    (void)state;
    run("syncs", &(struct fault){.kinds = 1U << SIM_SYNC, .error = EIO, .forever = true}, 1501, 20, 1);
}

static void the_disk_is_full_for_a_while(void **state)
{
    (void)state;
    run("full", &(struct fault){.full = true}, 1601, 16, 1);
}

static void a_recovery_fails(void **state)
{
    (void)state;
    run("EIO in recovery", &(struct fault){.kinds = SIM_MUTATING, .error = EIO, .recovery = true}, 1701, 20, 1);
    run("EIO in recovery's reading", &(struct fault){.kinds = SIM_ALL & ~SIM_MUTATING, .error = EIO, .recovery = true},
        12, 3, 1);
    run("ENOSPC in recovery",
        &(struct fault){
            .kinds = 1U << SIM_WRITE | 1U << SIM_CREATE | 1U << SIM_RESERVE, .error = ENOSPC, .recovery = true},
        15, 4, 1);
    run("a full disk in recovery", &(struct fault){.full = true, .recovery = true}, 19, 4, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_operation_fails),
        cmocka_unit_test(space_is_refused),
        cmocka_unit_test(a_read_fails),
        cmocka_unit_test(descriptors_run_out),
        cmocka_unit_test(a_sync_fails),
        cmocka_unit_test(syncs_fail_until_the_restart),
        cmocka_unit_test(the_disk_is_full_for_a_while),
        cmocka_unit_test(a_recovery_fails),
    };
    return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
