/* Steps that seal, trim and pin. */
#include "steps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool step_has_pins(const struct work *work, const struct model_topic *topic)
{
    for (size_t i = 0; i < WORK_PINS; i++)
        if (work->pins[i].partition && work->pins[i].partition->topic == topic)
            return true;
    return false;
}

/* The disk begins or ends to lie, where that was asked for. */
static void lie(struct work *work, bool on)
{
    if (work->keeping_lie_sync || work->keeping_lie_sync_dir)
        simdisk_lie(work->disk, on ? work->keeping_lie_sync : NULL, on ? work->keeping_lie_sync_dir : NULL);
}

/* Retention's trims may have failed where they cannot be taken back: they count after a restart, or do not. */
static void retention_may_have_failed(struct work *work)
{
    for (size_t i = 0; work->faulty && i < MODEL_TOPICS; i++)
        for (size_t j = 0; work->model.topics[i].retention && j < MODEL_PARTITIONS; j++)
            work->model.topics[i].partitions[j].first_most = work->model.topics[i].partitions[j].count;
}

bool step_maintain(struct work *work)
{
    static const int64_t pauses[] = {1000000, 2000000000, 11000000000, 4000000000000};
    simdisk_advance(work->disk, pauses[sim_random_below(&work->random, 4)]);
    work->flight.maintains = true;
    lie(work, true);
    (void)tlog_store_maintain(work->store);
    lie(work, false);
    step_returned(work);
    work->flight = (struct model_flight){0};
    retention_may_have_failed(work);
    return step_settle(work);
}

bool step_trim(struct work *work)
{
    struct model_partition *partition = step_partition(work);
    struct tlog_bounds bounds;
    uint64_t start = 0;
    if (!partition)
        return true;
    tlog_partition_bounds(partition->handle, &bounds);
    uint64_t pos = bounds.start + sim_random_below(&work->random, bounds.end - bounds.start + 1);
    if (sim_random_chance(&work->random, 10))
        pos = bounds.end;
    work->flight.trims = partition;
    work->flight.trim_pos = pos;
    lie(work, true);
    int result = tlog_partition_trim(partition->handle, pos, &start);
    lie(work, false);
    step_returned(work);
    work->flight = (struct model_flight){0};
    size_t most = model_partition_lines(partition, pos, NULL);
    partition->first_most = most > partition->first_most ? most : partition->first_most;
    if (result)
        return step_error(work, "a trim", result) && step_settle(work);
    if (!model_partition_start(&work->model, partition, start) || !step_settle(work))
        return false;
    if (!work->faulty)
        partition->first_most = partition->first;
    tlog_partition_bounds(partition->handle, &bounds);
    return bounds.start == start ||
           model_fail(&work->model, "%s: a trim answered %" PRIu64 ", and it starts at %" PRIu64,
                      partition->topic->name, start, bounds.start);
}

/* Reads from the pin on, what was trimmed since as well. */
static bool pin_read(struct work *work, const struct work_pin *pin)
{
    const struct model_partition *partition = pin->partition;
    uint64_t at = 0;
    for (size_t i = 0; i < partition->count; at += partition->lines[i++]->length) {
        const struct model_line *line = partition->lines[i];
        if (at < pin->pin.pos)
            continue;
        char *text = malloc(line->length + 1);
        ssize_t length = tlog_partition_read(partition->handle, at, text, line->length);
        if (work->faulty && length != (ssize_t)line->length) /* a disk that fails once */
            length = tlog_partition_read(partition->handle, at, text, line->length);
        bool same = length == (ssize_t)line->length && memcmp(text, line->text, line->length) == 0;
        free(text);
        if (!same)
            return model_fail(&work->model, "%s: line %zu at pos %" PRIu64 " is pinned and not read: %zd",
                              partition->topic->name, i, at, length);
    }
    return true;
}

bool step_pin(struct work *work)
{
    struct work_pin *pin = &work->pins[sim_random_below(&work->random, WORK_PINS)];
    if (pin->partition) {
        if (!pin_read(work, pin))
            return false;
        if (sim_random_chance(&work->random, 40)) {
            tlog_pin_release(&pin->pin);
            step_returned(work);
            pin->partition = NULL;
        }
        return true;
    }
    struct model_partition *partition = step_partition(work);
    if (!partition)
        return true;
    uint64_t pos = 0;
    size_t line = partition->first + sim_random_below(&work->random, partition->count - partition->first + 1);
    for (size_t i = 0; i < line; i++)
        pos += partition->lines[i]->length;
    int result = tlog_partition_pin(partition->handle, pos, &pin->pin);
    if (result)
        return model_fail(&work->model, "%s: a pin at %" PRIu64 " gave %d", partition->topic->name, pos, result);
    pin->partition = partition;
    return true;
}
