/* A workload, unplugged everywhere: the crash points are clones of the disk taken inside its operations, and are
 * judged when the call that made the operations has returned. */
#include "unplug.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const kind_names[SIM_KINDS] = {
    "open", "create", "read",   "write", "truncate", "reserve",  "sync", "stat",
    "map",  "rename", "unlink", "mkdir", "rmdir",    "sync_dir", "list",
};

struct point {
    struct simdisk *disk;
    uint64_t number;
    enum sim_kind kind;
};

struct points {
    struct simdisk *source;
    struct sim_random *random;
    unsigned percent;
    struct point *at;
    size_t count, capacity;
    uint64_t operations;
};

/* A copy of the store under way: one file more at each operation. */
struct copy {
    char (*paths)[300];
    size_t count, capacity;
    bool running, sorted; /* in name order, as most programs copy; else in any */
    unsigned number;
};

struct unplug {
    struct work work;
    const struct unplug_options *options;
    struct unplug_result *result;
    struct points points;
    struct copy copy;
    struct sim_random random; /* for the crashes, apart from the workload's */
};

static void points_hook(void *arg, enum sim_kind kind, const char *path)
{
    struct points *points = arg;
    (void)path;
    points->operations++;
    if (points->percent && !sim_random_chance(points->random, points->percent))
        return;
    if (points->count == points->capacity) {
        points->capacity = points->capacity ? points->capacity * 2 : 64;
        points->at = realloc(points->at, points->capacity * sizeof *points->at);
    }
    points->at[points->count++] =
        (struct point){.disk = simdisk_clone(points->source), .number = points->operations, .kind = kind};
}

static void points_clear(struct points *points)
{
    for (size_t i = 0; i < points->count; i++)
        simdisk_free(points->at[i].disk);
    points->count = 0;
}

static bool complain(struct unplug *unplug, const char *crash, uint64_t seed, uint64_t number, enum sim_kind kind)
{
    const struct work *work = &unplug->work;
    snprintf(unplug->result->why, sizeof unplug->result->why,
             "seed %" PRIu64 ", step %" PRIu64 " (%s), before operation %" PRIu64 " (%s), %s with seed %" PRIu64 ": %s",
             work->seed, work->step, work->what, number, kind_names[kind], crash, seed, work->model.why);
    return false;
}

/* ---- what a recovered store must still be able to do ---- */

static bool probe(struct unplug *unplug, struct tlog_store *store, struct tlog_partition *partition, uint64_t number)
{
    struct model *model = &unplug->work.model;
    struct tlog_writer *writer;
    struct tlog_bounds before, after;
    char text[64], seen[64];
    (void)store;
    size_t length = (size_t)snprintf(text, sizeof text, "probe %" PRIu64 "\n", number);
    tlog_partition_bounds(partition, &before);
    int error = tlog_writer_open(&writer, partition);
    if (error)
        return model_fail(model, "after recovery a writer cannot be opened: %d", error);
    ssize_t count = tlog_writer_append(writer, text, length, length, 1);
    tlog_writer_close(writer);
    if (count != (ssize_t)length)
        return model_fail(model, "after recovery an append gave %zd", count);
    error = tlog_partition_sync_wait(partition);
    if (error)
        return model_fail(model, "after recovery a sync gave %d", error);
    tlog_partition_bounds(partition, &after);
    count = tlog_partition_read(partition, before.end, seen, sizeof seen);
    if (after.end != before.end + length || after.end_seq != before.end_seq + 1 || count != (ssize_t)length ||
        memcmp(seen, text, length) != 0)
        return model_fail(model, "after recovery an appended line is not read back");
    return true;
}

/* Whether each partition's last line is its probe; in number order, as probes were appended. */
static bool probes_there(struct unplug *unplug, struct tlog_store *store, uint64_t number)
{
    struct tlog_topic **topics;
    size_t count;
    bool fine = true;
    tlog_store_topics(store, &topics, &count);
    for (size_t i = 0; i < count; i++)
        for (unsigned j = 0; j < tlog_topic_partitions(topics[i]); j++) {
            struct tlog_partition *partition = tlog_partition_get(topics[i], j);
            struct tlog_bounds bounds;
            char text[64], seen[64];
            if (!partition)
                continue;
            size_t length = (size_t)snprintf(text, sizeof text, "probe %" PRIu64 "\n", number);
            tlog_partition_bounds(partition, &bounds);
            if (bounds.end < length ||
                tlog_partition_read(partition, bounds.end - length, seen, length) != (ssize_t)length ||
                memcmp(seen, text, length) != 0)
                fine = model_fail(&unplug->work.model, "a line synced after recovery is lost at the next power cut");
            tlog_partition_unref(partition);
        }
    tlog_topics_free(topics, count);
    return fine;
}

static bool probe_all(struct unplug *unplug, struct tlog_store *store, uint64_t number)
{
    struct tlog_topic **topics;
    size_t count;
    bool fine = true;
    tlog_store_topics(store, &topics, &count);
    for (size_t i = 0; fine && i < count; i++)
        for (unsigned j = 0; fine && j < tlog_topic_partitions(topics[i]); j++) {
            struct tlog_partition *partition = tlog_partition_get(topics[i], j);
            struct tlog_bounds bounds = {0};
            if (partition)
                tlog_partition_bounds(partition, &bounds);
            fine = !partition || bounds.damaged || probe(unplug, store, partition, number);
            tlog_partition_unref(partition);
        }
    tlog_topics_free(topics, count);
    return fine;
}

static void damage(void *arg, const char *line)
{
    model_fail(arg, "verify: %s", line);
}

static bool verify(struct unplug *unplug, struct simdisk *disk)
{
    struct model *model = &unplug->work.model;
    struct tlog_verify verified;
    struct tlog_error error = {""};
    char command[600], path[560];
    char directory[] = "/tmp/unplug.XXXXXX";
    if (!mkdtemp(directory))
        abort();
    snprintf(path, sizeof path, "%s/store", directory);
    int result = simdisk_export(disk, "/store", path);
    if (!result)
        result = tlog_verify(path, NULL, damage, NULL, model, &verified, &error);
    bool fine = !*model->why;
    if (result)
        fine = model_fail(model, "verify gave %d %s", result, error.text);
    else if (fine && (verified.damages || verified.torn_bytes || verified.unindexed_bytes))
        fine = model_fail(
            model, "verify of a closed store counts %" PRIu64 " damages, %" PRIu64 " torn, %" PRIu64 " unindexed bytes",
            verified.damages, verified.torn_bytes, verified.unindexed_bytes);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command))
        abort();
    return fine;
}

/* What a crash left is looked at without being changed: as a store that is only read, and by verify, to which what a
 * kill leaves is no damage. */
static bool look_on(struct unplug *unplug, struct simdisk *disk, enum model_crash worst)
{
    struct model *model = &unplug->work.model;
    const struct tlog_options options = {.io = simdisk_io(disk), .read_only = true, .no_upkeep = true};
    struct tlog_store *store;
    struct tlog_error text = {""};
    struct tlog_verify verified;
    uint64_t before = simdisk_count(disk, SIM_MUTATING);
    int error = tlog_store_open(&store, "/store", &options, &text);
    if (error && unplug->work.step)
        return model_fail(model, "opening it to be read gave %d %s", error, text.text);
    if (!error)
        error = tlog_store_close(store, &text);
    if (error && unplug->work.step)
        return model_fail(model, "closing what was only read gave %d %s", error, text.text);
    if (worst == MODEL_KILL && unplug->work.step)
        error = tlog_verify_with(&options, "/store", NULL, damage, NULL, model, &verified, &text);
    if (error && unplug->work.step)
        return model_fail(model, "verify gave %d %s", error, text.text);
    if (simdisk_count(disk, SIM_MUTATING) != before)
        return model_fail(model, "looking on changed the disk");
    return !*model->why;
}

/* The store is closed in order, verified, opened, and still the same; then it is written to, unplugged, and what
 * was synced is there. */
static bool go_on(struct unplug *unplug, struct simdisk **disk, struct tlog_store *store, enum model_crash crash,
                  uint64_t seed)
{
    struct work *work = &unplug->work;
    struct tlog_error text = {""};
    int error = tlog_store_close(store, &text);
    if (error)
        return model_fail(&work->model, "closing after recovery gave %d %s", error, text.text);
    simdisk_kill(*disk, seed);
    if (seed % 4 == 0 && !verify(unplug, *disk))
        return false;
    if (seed % 2)
        simdisk_power_cut(*disk, seed);
    error = work_open(*disk, work, &store, &text);
    if (error)
        return model_fail(&work->model, "opening after a clean close gave %d %s", error, text.text);
    bool fine = model_check(&work->model, &work->flight, store, crash, false) && probe_all(unplug, store, seed);
    struct simdisk *left = simdisk_clone(*disk);
    work_bury(*disk, store);
    simdisk_free(*disk);
    *disk = left;
    if (!fine)
        return false;
    work_show(left, "before the second power cut");
    simdisk_power_cut(left, seed + 7);
    work_show(left, "after the second power cut");
    error = work_open(left, work, &store, &text);
    if (error)
        return model_fail(&work->model, "opening after a second power cut gave %d %s", error, text.text);
    fine = probes_there(unplug, store, seed);
    work_bury(left, store);
    return fine;
}

/* ---- crash points ---- */

static bool judge(struct unplug *unplug, const struct point *point, enum model_crash crash, uint64_t seed, bool nested);

/* Files of segments that come by in name order: a lone .log or .idx belongs to nobody. */
struct leftovers {
    struct model *model;
    char stem[400];
    unsigned files; /* of the stem: 1 .idx, 2 .log, 4 .zst */
};

static int whole_forms(struct leftovers *left)
{
    if (left->stem[0] && left->files != 3 && left->files != 4 && left->files != 7)
        return !model_fail(left->model, "recovery left half of %s: %u", left->stem, left->files);
    return 0;
}

static int leftover(void *arg, const char *path, uint64_t size_bytes)
{
    static const char *const suffixes[] = {".idx", ".log", ".zst"};
    struct leftovers *left = arg;
    size_t length = strlen(path);
    (void)size_bytes;
    if (strstr(path, "/.gone.") || (length > 4 && strcmp(path + length - 4, ".new") == 0))
        return !model_fail(left->model, "recovery left %s", path);
    for (unsigned i = 0; i < 3; i++) {
        if (length < 5 || strcmp(path + length - 4, suffixes[i]) != 0)
            continue;
        bool same = strlen(left->stem) == length - 4 && memcmp(left->stem, path, length - 4) == 0;
        if (!same && whole_forms(left))
            return 1;
        if (!same)
            left->files = 0;
        snprintf(left->stem, sizeof left->stem, "%.*s", (int)length - 4, path);
        left->files |= 1U << i;
    }
    return 0;
}

/* Recovery leaves whole forms of segments, and nothing that was not made or removed to its end. */
static bool is_tidy(struct unplug *unplug, struct simdisk *disk)
{
    struct leftovers left = {.model = &unplug->work.model};
    return simdisk_walk(disk, "/store/topics", leftover, &left) == 0 && whole_forms(&left) == 0;
}

/* Every operation of a recovery is a crash point of its own. */
static bool judge_nested(struct unplug *unplug, struct points *inner, enum model_crash crash, uint64_t seed)
{
    bool fine = true;
    for (size_t i = 0; fine && i < inner->count; i++) {
        bool cut = crash == MODEL_CUT || sim_random_chance(&unplug->random, 50);
        if (cut && crash == MODEL_CUT && sim_random_chance(&unplug->random, 50))
            cut = false;
        /* the milder crash may follow the worse: what counts is the worse of the two */
        struct simdisk *disk = simdisk_clone(inner->at[i].disk);
        enum model_crash worst = cut || crash == MODEL_CUT ? MODEL_CUT : MODEL_KILL;
        struct tlog_store *store;
        struct tlog_error text = {""};
        if (cut)
            simdisk_power_cut(disk, seed + i);
        else
            simdisk_kill(disk, seed + i);
        int error = work_open(disk, &unplug->work, &store, &text);
        unplug->result->nested++;
        if (error) {
            fine = model_fail(
                &unplug->work.model,
                "at its operation %" PRIu64 " (%s) recovery was %s, and then the store cannot be opened: %d %s",
                inner->at[i].number, kind_names[inner->at[i].kind], cut ? "unplugged" : "killed", error, text.text);
        } else {
            fine = model_check(&unplug->work.model, &unplug->work.flight, store, worst, false);
            work_bury(disk, store);
            if (!fine) {
                char why[sizeof unplug->work.model.why];
                memcpy(why, unplug->work.model.why, sizeof why);
                unplug->work.model.why[0] = '\0';
                model_fail(&unplug->work.model, "recovery was %s at its operation %" PRIu64 " (%s): %s",
                           cut ? "unplugged" : "killed", inner->at[i].number, kind_names[inner->at[i].kind], why);
            }
        }
        simdisk_free(disk);
    }
    return fine;
}

static bool judge(struct unplug *unplug, const struct point *point, enum model_crash crash, uint64_t seed, bool nested)
{
    struct work *work = &unplug->work;
    struct simdisk *disk = simdisk_clone(point->disk);
    if (unplug->options->lie_keeping)
        simdisk_lie(disk, NULL, NULL);
    struct points inner = {.source = disk, .random = &unplug->random};
    struct tlog_store *store = NULL;
    struct tlog_error text = {""};
    enum model_crash worst = work->floor > crash ? work->floor : crash;
    const char *name = crash == MODEL_KILL ? "killed" : "unplugged";
    if (crash == MODEL_KILL)
        simdisk_kill(disk, seed);
    else
        simdisk_power_cut(disk, seed);
    bool fine = !sim_random_chance(&unplug->random, unplug->options->more_percent) || look_on(unplug, disk, worst);
    if (nested)
        simdisk_hook(disk, points_hook, &inner);
    struct simdisk *before = getenv("TOPICFS_SIM_NOTES") ? simdisk_clone(disk) : NULL;
    int error = work_open(disk, work, &store, &text);
    simdisk_hook(disk, NULL, NULL);
    unplug->result->recoveries++;
    fine = fine && (!error || model_fail(&work->model, "the store cannot be opened: %d %s", error, text.text));
    fine = fine && model_check(&work->model, &work->flight, store, worst, false);
    fine = fine && is_tidy(unplug, disk);
    fine = fine && judge_nested(unplug, &inner, worst, seed);
    if (fine && sim_random_chance(&unplug->random, unplug->options->more_percent))
        fine = go_on(unplug, &disk, store, worst, seed);
    else if (store)
        work_bury(disk, store);
    if (!fine && before) {
        work_show(point->disk, "when it crashed");
        work_show(before, "what the crash left");
    }
    points_clear(&inner);
    free(inner.at);
    simdisk_free(before);
    simdisk_free(disk);
    return fine || complain(unplug, name, seed, point->number, point->kind);
}

static void judge_points(struct work *work)
{
    struct unplug *unplug = work->arg;
    struct points *points = &unplug->points;
    for (size_t i = 0; i < points->count && !*unplug->result->why; i++) {
        const struct point *point = &points->at[i];
        bool nested = sim_random_chance(&unplug->random, unplug->options->nested_percent);
        uint64_t seed = sim_random_below(&unplug->random, 1U << 30);
        if (!judge(unplug, point, MODEL_KILL, seed, nested))
            break;
        for (unsigned j = 0; j < unplug->options->cuts; j++) {
            nested = sim_random_chance(&unplug->random, unplug->options->nested_percent);
            if (!judge(unplug, point, MODEL_CUT, seed + 1 + j, nested))
                break;
        }
    }
    points_clear(points);
}

/* ---- copies ---- */

static int copy_note(void *arg, const char *path, uint64_t size_bytes)
{
    struct copy *copy = arg;
    (void)size_bytes;
    if (copy->count == copy->capacity) {
        copy->capacity = copy->capacity ? copy->capacity * 2 : 64;
        copy->paths = realloc(copy->paths, copy->capacity * sizeof *copy->paths);
    }
    snprintf(copy->paths[copy->count++], sizeof copy->paths[0], "%s", path);
    return 0;
}

/* Whether what is to be copied of a partition begins below its start: it was trimmed, and goes in the midst of it all. */
static bool copies_trimmed(const struct copy *copy, const struct model_partition *partition)
{
    char prefix[300];
    uint64_t start = 0;
    size_t length = (size_t)snprintf(prefix, sizeof prefix, "/store/topics/%s/%u/", partition->topic->name,
                                     (unsigned)(partition - partition->topic->partitions));
    for (size_t i = 0; i < partition->first; i++)
        start += partition->lines[i]->length;
    for (size_t i = 0; i < copy->count; i++)
        if (strncmp(copy->paths[i], prefix, length) == 0 && copy->paths[i][length] >= '0' &&
            copy->paths[i][length] <= '9' && strtoull(copy->paths[i] + length, NULL, 10) < start)
            return true;
    return false;
}

static void copy_begin(struct unplug *unplug)
{
    struct model *model = &unplug->work.model;
    unplug->copy.count = 0;
    unplug->copy.running = true;
    unplug->copy.sorted = sim_random_chance(&unplug->random, 50);
    unplug->copy.number++;
    simdisk_walk(unplug->work.disk, "/store", copy_note, &unplug->copy);
    for (size_t i = 0; i < MODEL_TOPICS; i++)
        for (size_t j = 0; j < MODEL_PARTITIONS; j++) {
            struct model_partition *partition = &model->topics[i].partitions[j];
            partition->copied = partition->durable;
            partition->first_copied = copies_trimmed(&unplug->copy, partition) ? SIZE_MAX : partition->first;
        }
}

/* One file more, whichever. */
static void copy_one(struct unplug *unplug)
{
    struct copy *copy = &unplug->copy;
    char to[400];
    if (!copy->running || !copy->count)
        return;
    size_t i = copy->sorted ? 0 : (size_t)sim_random_below(&unplug->random, copy->count);
    snprintf(to, sizeof to, "/copy%u%s", copy->number, copy->paths[i]);
    (void)simdisk_copy(unplug->work.disk, copy->paths[i], to);
    memmove(copy->paths[i], copy->paths[i + 1], (--copy->count - i) * sizeof copy->paths[0]);
}

static bool copy_judge(struct unplug *unplug)
{
    struct work *work = &unplug->work;
    struct tlog_store *store;
    struct tlog_error text = {""};
    char path[64];
    unplug->copy.running = false;
    struct simdisk *disk = simdisk_clone(work->disk);
    simdisk_kill(disk, 1);
    snprintf(path, sizeof path, "/copy%u/store", unplug->copy.number);
    const struct tlog_options options = {
        .io = simdisk_io(disk), .no_upkeep = true, .journal_bytes = 16384, .note = work_note};
    work_show(disk, "the copy");
    int error = tlog_store_open(&store, path, &options, &text);
    bool fine = !error || model_fail(&work->model, "a copy cannot be opened: %d %s", error, text.text);
    if (!error) {
        fine = model_check(&work->model, NULL, store, MODEL_COPY, false) && probe_all(unplug, store, 1);
        work_bury(disk, store);
    }
    simdisk_free(disk);
    unplug->result->copies++;
    return fine || complain(unplug, "copied", 0, unplug->points.operations, SIM_LIST);
}

static void hook(void *arg, enum sim_kind kind, const char *path)
{
    struct unplug *unplug = arg;
    copy_one(unplug);
    points_hook(&unplug->points, kind, path);
}

/* ---- the run ---- */

static bool reopen_cleanly(struct unplug *unplug)
{
    struct work *work = &unplug->work;
    for (size_t i = 0; i < WORK_WRITERS; i++)
        if (work->writers[i].writer && work->writers[i].rest)
            return true; /* another time: their lines are the writers' step */
    work->what = "closing the store";
    int error = work_close(work);
    judge_points(work);
    if (error)
        return model_fail(&work->model, "closing the store gave %d", error);
    for (size_t i = 0; i < MODEL_TOPICS; i++) {
        for (size_t j = 0; j < MODEL_PARTITIONS; j++)
            model_partition_synced(&work->model.topics[i].partitions[j]);
        work->model.topics[i].may_return = false;
        work->model.topics[i].old_name[0] = '\0';
    }
    simdisk_kill(work->disk, 1);
    work->what = "opening the store again";
    return work_reopen(work, MODEL_KILL);
}

static bool crash_now(struct unplug *unplug)
{
    struct work *work = &unplug->work;
    enum model_crash crash = sim_random_chance(&unplug->random, 50) ? MODEL_KILL : MODEL_CUT;
    unplug->copy.running = false;
    work_crash(work, crash, sim_random_below(&unplug->random, 1U << 30));
    unplug->points.source = work->disk;
    simdisk_hook(work->disk, hook, unplug);
    work->what = crash == MODEL_KILL ? "recovery after a kill" : "recovery after a power cut";
    return work_reopen(work, crash);
}

static bool run_steps(struct unplug *unplug)
{
    struct work *work = &unplug->work;
    for (unsigned i = 0; i < unplug->options->steps; i++) {
        bool fine = work_step(work);
        if (fine && sim_random_chance(&unplug->random, 2))
            fine = reopen_cleanly(unplug);
        if (fine && sim_random_chance(&unplug->random, unplug->options->crash_percent))
            fine = crash_now(unplug);
        if (!fine && !*unplug->result->why)
            return complain(unplug, "not crashed", 0, unplug->points.operations, SIM_LIST);
        if (unplug->options->copies && !unplug->copy.running && sim_random_chance(&unplug->random, 5))
            copy_begin(unplug);
        if (unplug->copy.running && !unplug->copy.count && !copy_judge(unplug))
            return false;
        if (*unplug->result->why)
            return false;
    }
    return true;
}

bool unplug_run(uint64_t seed, const struct unplug_options *options, struct unplug_result *result)
{
    struct unplug *unplug = calloc(1, sizeof *unplug);
    memset(result, 0, sizeof *result);
    unplug->options = options;
    unplug->result = result;
    sim_random_seed(&unplug->random, seed + 1000000);
    struct work *work = &unplug->work;
    model_init(&work->model, NULL);
    work->large = options->large;
    work->topics = options->topics;
    work->keeps = options->keeps;
    work->lingers = options->copies;
    work->max_files = seed % 3 ? 0 : 16;
    work->returned = judge_points;
    work->arg = unplug;
    work->disk = simdisk_new(&(struct simdisk_options){.seed = seed});
    unplug->points =
        (struct points){.source = work->disk, .random = &unplug->random, .percent = options->point_percent};
    simdisk_hook(work->disk, hook, unplug);
    if (options->lie_keeping) {
        work->keeping_lie_sync = options->lie_sync;
        work->keeping_lie_sync_dir = options->lie_sync_dir;
    } else {
        simdisk_lie(work->disk, options->lie_sync, options->lie_sync_dir);
    }
    bool fine = work_start(work, seed, NULL) && run_steps(unplug);
    if (!fine && !*result->why)
        complain(unplug, "not crashed", 0, unplug->points.operations, SIM_LIST);
    result->operations = unplug->points.operations;
    result->kept = work->model.kept;
    result->lost = work->model.lost;
    result->ended = work->model.ended;
    result->sealed = work->model.sealed;
    result->trimmed = work->model.trimmed;
    points_clear(&unplug->points);
    free(unplug->points.at);
    free(unplug->copy.paths);
    work_release(work);
    free(unplug);
    return fine;
}
