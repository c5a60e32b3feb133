/* Steps that make, change and remove topics. */
#include "steps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool name_taken(const struct work *work, const char *name)
{
    for (size_t i = 0; i < MODEL_TOPICS; i++) {
        const struct model_topic *topic = &work->model.topics[i];
        if (topic->used && (topic->present || topic->may_return) &&
            (!strcmp(topic->name, name) || !strcmp(topic->old_name, name)))
            return true;
    }
    return false;
}

static struct model_topic *slot_free(struct work *work)
{
    for (size_t i = 0; i < MODEL_TOPICS; i++)
        if (!work->model.topics[i].used)
            return &work->model.topics[i];
    return NULL;
}

static bool name_new(struct work *work, char name[256])
{
    for (unsigned i = 0; i < 8; i++) {
        snprintf(name, 256, "topic-%u", (unsigned)sim_random_below(&work->random, 12));
        if (!name_taken(work, name))
            return true;
    }
    return false;
}

static bool topic_set(struct work *work, struct model_topic *topic, const char *text)
{
    struct tlog_error error = {""};
    int result = tlog_topic_config_set(topic->handle, text, false, &error);
    step_returned(work);
    work->flight = (struct model_flight){0};
    return !result || step_error(work, "setting a topic's key", result);
}

static bool make_forgetful(struct work *work, struct model_topic *topic)
{
    bool fine = topic_set(work, topic, "retention.bytes=3KiB\n");
    topic->retention = tlog_topic_value(topic->handle, TLOG_RETENTION_BYTES);
    topic->retention = topic->retention < 0 ? 0 : topic->retention;
    return fine;
}

static bool make_raw(struct work *work, struct model_topic *topic)
{
    bool fine = topic_set(work, topic, "message.format=raw\n");
    topic->raw = tlog_topic_value(topic->handle, TLOG_MESSAGE_FORMAT) == TLOG_FORMAT_RAW;
    return fine;
}

bool step_topic_create(struct work *work)
{
    struct model_topic *topic = slot_free(work);
    struct tlog_error error = {""};
    struct tlog_attr attr = {.mode = 0755};
    if (!topic || !name_new(work, topic->name))
        return true;
    unsigned partitions = 1 + (unsigned)sim_random_below(&work->random, 2);
    topic->used = true;
    topic->quota = INT64_C(1) << 40;
    work->flight.creates = topic;
    int result = tlog_topic_create(work->store, topic->name, partitions, &attr, &topic->handle, &error);
    step_returned(work);
    work->flight = (struct model_flight){0};
    if (result) {
        topic->may_return = true;
        topic->handle = NULL;
        return step_error(work, "creating a topic", result);
    }
    topic->present = topic->may_vanish = true;
    memcpy(topic->id, tlog_topic_id(topic->handle), sizeof topic->id);
    for (unsigned i = 0; i < partitions; i++) {
        topic->partitions[i].present = true;
        topic->partitions[i].handle = tlog_partition_get(topic->handle, i);
        if (!topic->partitions[i].handle)
            return model_fail(&work->model, "%s/%u: made, and cannot be had", topic->name, i);
    }
    if (sim_random_chance(&work->random, 25) && !make_raw(work, topic))
        return false;
    return !sim_random_chance(&work->random, 25) || make_forgetful(work, topic);
}

static bool topic_configure(struct work *work, struct model_topic *topic)
{
    char text[64];
    int64_t quota = INT64_C(1000000000) + (int64_t)sim_random_below(&work->random, 1000000);
    snprintf(text, sizeof text, "quota.bytes=%" PRId64 "\n", quota);
    work->flight.configures = topic;
    work->flight.new_quota = quota;
    work->what = "configuring a topic";
    if (!topic_set(work, topic, text))
        return false;
    int64_t value = tlog_topic_value(topic->handle, TLOG_QUOTA_BYTES);
    if (value != quota && work->faulty && value == topic->quota)
        topic->other_quota = quota; /* refused, perhaps by the sync of a directory that shows it all the same */
    else if (value != quota)
        return model_fail(&work->model, "%s: quota.bytes is %" PRId64 ", set was %" PRId64, topic->name, value, quota);
    topic->quota = value;
    return true;
}

static bool topic_rename(struct work *work, struct model_topic *topic)
{
    char name[256];
    if (!name_new(work, name) || topic->old_name[0])
        return true;
    work->what = "renaming a topic";
    work->flight.renames = topic;
    work->flight.new_name = name;
    int result = tlog_topic_rename(topic->handle, name);
    step_returned(work);
    work->flight = (struct model_flight){0};
    if (result)
        return step_error(work, "renaming a topic", result);
    memcpy(topic->old_name, topic->name, sizeof name);
    memcpy(topic->name, name, sizeof name);
    return true;
}

static bool topic_remove(struct work *work, struct model_topic *topic)
{
    bool empty = true;
    for (size_t i = 0; i < MODEL_PARTITIONS; i++)
        empty &=
            topic->partitions[i].count == topic->partitions[i].first && !model_partition_held(&topic->partitions[i]);
    if (empty && (step_has_writers(work, topic) || step_has_pins(work, topic)))
        return true;
    work->what = "removing a topic";
    work->flight.removes = empty ? topic : NULL;
    int result = tlog_topic_remove(topic->handle, false);
    step_returned(work);
    work->flight = (struct model_flight){0};
    if (!empty && result == -ENOTEMPTY)
        return true;
    if (!empty && !result)
        return model_fail(&work->model, "%s: the topic was removed with its records", topic->name);
    if (result)
        return step_error(work, "removing a topic", result);
    for (size_t i = 0; i < MODEL_PARTITIONS; i++) {
        struct model_partition *partition = &topic->partitions[i];
        while (partition->rest_count)
            model_partition_forget(partition, partition->rests[0], true);
        tlog_partition_unref(partition->handle);
        partition->handle = NULL;
    }
    tlog_topic_unref(topic->handle);
    topic->handle = NULL;
    topic->present = false;
    topic->may_return = true;
    return true;
}

static bool topic_grow(struct work *work, struct model_topic *topic)
{
    unsigned number = tlog_topic_partitions(topic->handle);
    if (number >= MODEL_PARTITIONS)
        return true;
    work->what = "adding a partition";
    work->flight.adds = &topic->partitions[number];
    int result = tlog_topic_add_partition(topic->handle, number, NULL);
    step_returned(work);
    work->flight = (struct model_flight){0};
    /* it makes what is missing below as well, and a refusal may come after some of it */
    for (unsigned i = 0; i <= number; i++) {
        struct model_partition *partition = &topic->partitions[i];
        if (partition->present)
            continue;
        partition->may_return = true;
        partition->handle = tlog_partition_get(topic->handle, i);
        partition->present = partition->handle;
        if (!result && !partition->present)
            return model_fail(&work->model, "%s/%u: added, and cannot be had", topic->name, i);
    }
    return !result || step_error(work, "adding a partition", result);
}

bool step_topic_change(struct work *work)
{
    struct model_topic *topic = step_topic(work);
    if (!topic)
        return true;
    switch (sim_random_below(&work->random, 4)) {
    case 0:
        return topic_configure(work, topic);
    case 1:
        return topic_rename(work, topic);
    case 2:
        return topic_grow(work, topic);
    default:
        return topic_remove(work, topic);
    }
}

bool work_step(struct work *work)
{
    static const struct {
        const char *what;
        bool (*step)(struct work *work);
        unsigned weight, keeping;
    } steps[] = {
        {"an append", step_append, 50, 40},
        {"a bare append", step_append_bare, 6, 30},
        {"a writer", step_writer, 14, 10},
        {"a sync", step_sync, 8, 4},
        {"syncs", step_sync_many, 3, 2},
        {"upkeep", step_upkeep, 8, 20},
        {"the store's sync", step_store_sync, 1, 2},
        {"a read", step_read, 4, 3},
        {"maintenance", step_maintain, 6, 30},
        {"a trim", step_trim, 3, 6},
        {"a pin", step_pin, 3, 6},
        {"making a topic", step_topic_create, 3, 3},
        {"changing a topic", step_topic_change, 3, 3},
    };
    size_t count = sizeof steps / sizeof steps[0] - (work->topics ? 0 : 2);
    unsigned total = 0;
    for (size_t k = 0; k < count; k++)
        total += work->keeps ? steps[k].keeping : steps[k].weight;
    uint64_t at = sim_random_below(&work->random, total);
    size_t i = 0;
    for (unsigned weight; at >= (weight = work->keeps ? steps[i].keeping : steps[i].weight); i++)
        at -= weight;
    if (!work->topics && work->step < 2)
        i = sizeof steps / sizeof steps[0] - 2; /* there must be some */
    work->step++;
    work->what = steps[i].what;
    if (getenv("TOPICFS_SIM_NOTES"))
        fprintf(stderr, "  step %" PRIu64 ": %s\n", work->step, work->what);
    return steps[i].step(work);
}
