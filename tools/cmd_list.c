/* list, describe. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/ctl.h"
#include "tools/keys.h"
#include "tools/selector.h"
#include "tools/store.h"
#include "tools/table.h"

/* ---- list ------------------------------------------------------------------------------------------- */

static int add_topic(struct ctl_store *store, const char *topic, struct table *table, json_t *array)
{
    struct ctl_summary *all;
    size_t count;
    uint64_t records = 0, bytes = 0, disk_bytes = 0, one;
    int result = store->backend->partitions(store, topic, &all, &count);

    if (result < 0)
        return result;
    for (size_t i = 0; i < count; i++) {
        records += all[i].records;
        bytes += all[i].end - all[i].start;
        /* One that was deleted meanwhile has none. */
        if (store->backend->disk_bytes(store, topic, all[i].number, &one) == 0)
            disk_bytes += one;
    }
    free(all);
    if (array) {
        json_array_append_new(array, json_pack("{s:s, s:I, s:I, s:I, s:I}", "topic", topic, "partitions",
                                               (json_int_t)count, "records", (json_int_t)records, "bytes",
                                               (json_int_t)bytes, "disk_bytes", (json_int_t)disk_bytes));
        return 0;
    }
    table_cell(table, "%s", topic);
    table_cell(table, "%zu", count);
    table_cell(table, "%" PRIu64, records);
    table_cell(table, "%" PRIu64, bytes);
    table_cell(table, "%" PRIu64, disk_bytes);
    return 0;
}

static int run_list(const struct ctl_command *self, int argc, char **argv)
{
    static const char *const heads[] = {"TOPIC", ">PARTITIONS", ">RECORDS", ">BYTES", ">DISK"};
    struct table table = {.heads = heads, .columns = 5};
    bool json = false;
    int code = ctl_json_option(self, argc, argv, &json);
    char **topics = NULL;

    if (code >= 0)
        return code;
    if (argc - optind != 1)
        return ctl_misused(self, "wants WHERE");
    struct ctl_store *store = ctl_store_open(argv[optind], CTL_READ);
    if (!store)
        return CTL_FAILED;
    json_t *array = json ? json_array() : NULL;
    code = CTL_DONE;
    int result = store->backend->topics(store, &topics);
    if (result < 0)
        code = ctl_fail(result, &store->error, "%s", argv[optind]);
    for (size_t i = 0; result == 0 && topics[i]; i++) {
        result = add_topic(store, topics[i], &table, array);
        if (result == -ENOENT) /* deleted meanwhile */
            result = 0;
        if (result < 0)
            code = ctl_fail(result, &store->error, "%s", topics[i]);
    }
    ctl_names_free(topics);
    if (json)
        ctl_print_json(array);
    else if (table_print(&table) < 0)
        code = ctl_fail(-ENOMEM, NULL, "list");
    ctl_store_close(store);
    return code;
}

const struct ctl_command ctl_list = {
    .name = "list",
    .arguments = "WHERE [--json]",
    .summary = "the topics, with their partitions, records, bytes, and bytes on disk",
    .details = "Lists the topics in name order.\n\n  -j, --json   as a JSON array of objects",
    .run = run_list,
};

/* ---- describe --------------------------------------------------------------------------------------- */

static json_t *bounds_json(unsigned number, const struct tlog_bounds *b)
{
    char chain[17], time[40];

    snprintf(chain, sizeof(chain), "%016" PRIx64, b->chain);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s}", "partition",
                     (json_int_t)number, "start", (json_int_t)b->start, "end", (json_int_t)b->end, "committed",
                     (json_int_t)b->committed, "durable", (json_int_t)b->durable, "first_record",
                     (json_int_t)b->start_seq, "records", (json_int_t)(b->end_seq - b->start_seq), "pending",
                     (json_int_t)b->pending, "segments", (json_int_t)b->segments, "sealed_bytes",
                     (json_int_t)b->sealed_bytes, "disk_bytes", (json_int_t)b->disk_bytes, "epoch",
                     (json_int_t)b->epoch, "leader", (json_int_t)b->leader, "modified_ns", (json_int_t)b->mtime_ns,
                     "modified", time_format(b->mtime_ns, time), "chain", chain);
}

static void bounds_row(struct table *table, unsigned number, const struct tlog_bounds *b)
{
    char time[40];

    table_cell(table, "%u", number);
    table_cell(table, "%" PRIu64, b->start);
    table_cell(table, "%" PRIu64, b->end);
    table_cell(table, "%" PRIu64, b->committed);
    table_cell(table, "%" PRIu64, b->durable);
    table_cell(table, "%" PRIu64, b->end_seq - b->start_seq);
    table_cell(table, "%" PRIu64, b->pending);
    table_cell(table, "%" PRIu64, b->segments);
    table_cell(table, "%" PRIu64, b->sealed_bytes);
    table_cell(table, "%" PRIu64, b->disk_bytes);
    table_cell(table, "%u", b->epoch);
    table_cell(table, "%s", time_format(b->mtime_ns, time));
}

/* The partitions of a topic, or the one that is asked for, into the table or the array. */
static int add_partitions(struct ctl_store *store, const struct ctl_target *target, struct table *table, json_t *array)
{
    struct ctl_summary *all = NULL;
    size_t count = 0, shown = 0;
    int result = store->backend->partitions(store, target->topic, &all, &count);

    for (size_t i = 0; result == 0 && i < count; i++) {
        struct tlog_bounds bounds;
        if (target->partition >= 0 && all[i].number != (unsigned)target->partition)
            continue;
        result = store->backend->bounds(store, target->topic, all[i].number, &bounds);
        if (result < 0)
            break;
        if (array)
            json_array_append_new(array, bounds_json(all[i].number, &bounds));
        else
            bounds_row(table, all[i].number, &bounds);
        shown++;
    }
    free(all);
    if (result == 0 && shown == 0 && target->partition >= 0)
        return ctl_error(&store->error, -ENOENT, "no such partition");
    return result;
}

static void print_keys(const struct keys *keys)
{
    char value[32];

    for (enum tlog_key key = 0; key < TLOG_KEYS; key++)
        printf("  %s=%s%s%s\n", tlog_key_name(key), tlog_key_format(key, keys->values[key], value),
               keys->sources[key][0] == 't' ? "" : "  # ", keys->sources[key][0] == 't' ? "" : keys->sources[key]);
}

static int describe_topic(struct ctl_store *store, const struct ctl_target *target, json_t **out)
{
    static const char *const heads[] = {">PARTITION", ">START",    ">END",    ">COMMITTED", ">DURABLE", ">RECORDS",
                                        ">PENDING",   ">SEGMENTS", ">SEALED", ">DISK",      ">EPOCH",   "MODIFIED"};
    struct table table = {.heads = heads, .columns = 12};
    json_t *array = out ? json_array() : NULL;
    struct keys keys;
    int result = keys_load(store, target->topic, &keys);

    if (result == 0)
        result = add_partitions(store, target, &table, array);
    if (result < 0) {
        json_decref(array);
        return result;
    }
    if (out) {
        *out = json_pack("{s:s, s:o, s:o}", "topic", target->topic, "config", keys_json(&keys), "partitions", array);
        return 0;
    }
    printf("%s\n", target->topic);
    print_keys(&keys);
    putchar('\n');
    return table_print(&table);
}

static int describe_all(struct ctl_store *store, bool json)
{
    char **topics;
    int code = CTL_DONE, result = store->backend->topics(store, &topics);
    json_t *array = json ? json_array() : NULL, *object;

    if (result < 0)
        return ctl_fail(result, &store->error, "%s", store->path);
    for (size_t i = 0; result == 0 && topics[i]; i++) {
        struct ctl_target target = {.partition = -1};
        snprintf(target.topic, sizeof(target.topic), "%s", topics[i]);
        if (!json && i > 0)
            putchar('\n');
        result = describe_topic(store, &target, json ? &object : NULL);
        if (result == 0 && json)
            json_array_append_new(array, object);
        if (result == -ENOENT)
            result = 0;
        if (result < 0)
            code = ctl_fail(result, &store->error, "%s", topics[i]);
    }
    ctl_names_free(topics);
    if (json)
        ctl_print_json(array);
    return code;
}

static int describe_one(struct ctl_store *store, const char *name, bool json)
{
    struct tlog_error error = {""};
    struct ctl_target target;
    json_t *object = NULL;
    int result = ctl_target_parse(name, &target, &error);

    if (result < 0)
        return ctl_fail(result, &error, "%s", name);
    result = describe_topic(store, &target, json ? &object : NULL);
    if (result < 0)
        return ctl_fail(result, &store->error, "%s", name);
    if (json)
        ctl_print_json(object);
    return CTL_DONE;
}

static int run_describe(const struct ctl_command *self, int argc, char **argv)
{
    bool json = false;
    int code = ctl_json_option(self, argc, argv, &json);

    if (code >= 0)
        return code;
    if (argc - optind != 1 && argc - optind != 2)
        return ctl_misused(self, "wants WHERE and perhaps TOPIC");
    struct ctl_store *store = ctl_store_open(argv[optind], CTL_READ);
    if (!store)
        return CTL_FAILED;
    if (argc - optind == 2)
        code = describe_one(store, argv[optind + 1], json);
    else
        code = describe_all(store, json);
    ctl_store_close(store);
    return code;
}

const struct ctl_command ctl_describe = {
    .name = "describe",
    .arguments = "WHERE [TOPIC[/PARTITION]] [--json]",
    .summary = "a topic's keys and where its partitions stand",
    .details = "Shows the keys in force for a topic, or for all, and a line for each partition: positions are logical\n"
               "bytes, times UTC.\n\n  -j, --json   an object; without a TOPIC, an array of them",
    .run = run_describe,
};
