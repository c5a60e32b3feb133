/* The life of a workload: opened, closed, killed, unplugged and gone on with. Its steps are in steps.c. */
#include "workload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned work_scaled(unsigned count)
{
    const char *scale = getenv("TOPICFS_TEST_SCALE");
    double scaled = count * (scale ? strtod(scale, NULL) : 1.0);
    return scaled < 1 ? 1 : (unsigned)scaled;
}

uint64_t work_seeds(uint64_t first, unsigned *count)
{
    const char *seed = getenv("TOPICFS_SIM_SEED");
    if (!seed) {
        *count = work_scaled(*count);
        return first;
    }
    *count = 1;
    return strtoull(seed, NULL, 0);
}

void work_note(void *arg, const char *line)
{
    if (getenv("TOPICFS_SIM_NOTES"))
        fprintf(stderr, "    %s\n", line);
    (void)arg;
}

int work_open(struct simdisk *disk, const struct work *work, struct tlog_store **out, struct tlog_error *error)
{
    const struct tlog_options options = {.io = simdisk_io(disk),
                                         .create = true,
                                         .no_upkeep = true,
                                         .max_files = work->max_files,
                                         .journal_bytes = 16384,
                                         .note = work_note};
    return tlog_store_open(out, "/store", &options, error);
}

void work_bury(struct simdisk *disk, struct tlog_store *store)
{
    simdisk_stop(disk, 0);
    (void)tlog_store_close(store, NULL);
}

static void give_back(struct work *work)
{
    for (size_t i = 0; i < WORK_WRITERS; i++) {
        if (work->writers[i].writer)
            tlog_writer_close(work->writers[i].writer);
        memset(&work->writers[i], 0, sizeof work->writers[i]);
    }
    for (size_t i = 0; i < WORK_PINS; i++) {
        tlog_pin_release(&work->pins[i].pin);
        work->pins[i].partition = NULL;
    }
    for (size_t i = 0; i < MODEL_TOPICS; i++) {
        struct model_topic *topic = &work->model.topics[i];
        for (size_t j = 0; j < MODEL_PARTITIONS; j++) {
            tlog_partition_unref(topic->partitions[j].handle);
            topic->partitions[j].handle = NULL;
        }
        tlog_topic_unref(topic->handle);
        topic->handle = NULL;
    }
}

static bool take_handles(struct work *work)
{
    for (size_t i = 0; i < MODEL_TOPICS; i++) {
        struct model_topic *topic = &work->model.topics[i];
        if (!topic->present)
            continue;
        topic->handle = tlog_topic_get(work->store, topic->name);
        if (!topic->handle)
            return model_fail(&work->model, "%s: the topic is listed and cannot be had", topic->name);
        for (unsigned j = 0; j < MODEL_PARTITIONS; j++)
            if (topic->partitions[j].present)
                topic->partitions[j].handle = tlog_partition_get(topic->handle, j);
    }
    return true;
}

static bool configure(struct work *work)
{
    static const char *const lingers[] = {"0", "10s", "1h"}, *const types[] = {"zstd", "zstd", "zstd", "none"};
    struct tlog_error error = {""};
    char text[256];
    snprintf(text, sizeof text,
             "# small, so that everything happens\nsegment.bytes=1KiB\nsegment.ms=1h\nflush.ms=1s\nquota.bytes=1TiB\n"
             "pin.ms=30d\nseal.linger.ms=%s\ncompression.type=%s\n",
             work->lingers ? "30d" : lingers[work->seed % 3], types[work->seed % 4]);
    int result = tlog_store_config_set(work->store, text, true, &error);
    if (work->returned)
        work->returned(work);
    if (result)
        return model_fail(&work->model, "the root configuration: %d %s", result, error.text);
    return true;
}

bool work_start(struct work *work, uint64_t seed, const struct simdisk_options *options)
{
    struct tlog_error error = {""};
    work->seed = seed;
    sim_random_seed(&work->random, seed);
    if (!work->disk)
        work->disk = simdisk_new(options);
    work->what = "create the store";
    int result = work_open(work->disk, work, &work->store, &error);
    if (work->returned)
        work->returned(work);
    if (result)
        return model_fail(&work->model, "the store cannot be made: %d %s", result, error.text);
    return configure(work);
}

void work_release(struct work *work)
{
    if (work->store) {
        simdisk_hook(work->disk, NULL, NULL);
        simdisk_stop(work->disk, 0);
        give_back(work);
        (void)tlog_store_close(work->store, NULL);
    }
    model_flight_release(&work->flight);
    model_release(&work->model);
    simdisk_free(work->disk);
}

int work_close(struct work *work)
{
    give_back(work);
    int error = tlog_store_close(work->store, NULL);
    work->store = NULL;
    return error;
}

bool work_reopen(struct work *work, enum model_crash crash)
{
    struct tlog_error error = {""};
    work->floor = crash;
    int result = work_open(work->disk, work, &work->store, &error);
    if (work->returned)
        work->returned(work);
    work->floor = MODEL_KILL;
    if (result)
        return model_fail(&work->model, "the store cannot be opened: %d %s", result, error.text);
    return model_check(&work->model, NULL, work->store, crash, true) && take_handles(work);
}

static int show_file(void *arg, const char *path, uint64_t size_bytes)
{
    fprintf(arg, "    %s %" PRIu64 "\n", path, size_bytes);
    return 0;
}

void work_show(struct simdisk *disk, const char *when)
{
    if (!getenv("TOPICFS_SIM_NOTES"))
        return;
    fprintf(stderr, "    %s:\n", when);
    simdisk_walk(disk, "/", show_file, stderr);
}

bool work_crash(struct work *work, enum model_crash crash, uint64_t seed)
{
    struct simdisk *left = simdisk_clone(work->disk);
    work_show(left, "before the crash");
    simdisk_hook(work->disk, NULL, NULL);
    simdisk_stop(work->disk, 0);
    (void)work_close(work);
    simdisk_free(work->disk);
    work->disk = left;
    if (crash == MODEL_KILL)
        simdisk_kill(left, seed);
    else
        simdisk_power_cut(left, seed);
    work_show(left, "after the crash");
    return true;
}

bool work_check_live(struct work *work)
{
    for (size_t i = 0; i < MODEL_TOPICS; i++)
        for (size_t j = 0; j < MODEL_PARTITIONS; j++) {
            struct model_partition *partition = &work->model.topics[i].partitions[j];
            if (partition->handle && !model_check_live(&work->model, partition))
                return false;
        }
    return true;
}
