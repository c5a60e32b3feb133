/* trash, restore, discard: what was deleted and can be had back. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ctl.h"
#include "tools/selector.h"
#include "tools/store.h"
#include "tools/table.h"

/* ---- trash ------------------------------------------------------------------------------------------ */

static json_t *item_json(const struct tlog_trash_item *item)
{
    char time[40];
    json_t *partition = item->partition < 0 ? json_null() : json_integer(item->partition);

    return json_pack("{s:s, s:s, s:o, s:I, s:s, s:I}", "item", item->name, "topic", item->topic, "partition", partition,
                     "removed_ns", (json_int_t)item->removed_ns, "removed", time_format(item->removed_ns, time),
                     "disk_bytes", (json_int_t)item->disk_bytes);
}

static void item_row(struct table *table, const struct tlog_trash_item *item)
{
    char time[40];

    if (item->partition < 0)
        table_cell(table, "%s", item->topic);
    else
        table_cell(table, "%s/%d", item->topic, item->partition);
    table_cell(table, "%s", time_format(item->removed_ns, time));
    table_cell(table, "%" PRIu64, item->disk_bytes);
    table_cell(table, "%s", item->name);
}

static int list_trash(struct ctl_store *store, bool json)
{
    static const char *const heads[] = {"WHAT", "REMOVED", ">DISK", "ITEM"};
    struct table table = {.heads = heads, .columns = 4};
    struct tlog_trash_item *items;
    size_t count;
    int result = store->backend->trash(store, &items, &count);

    if (result < 0)
        return ctl_fail(result, &store->error, "%s", store->path);
    json_t *array = json ? json_array() : NULL;
    for (size_t i = 0; i < count; i++)
        if (json)
            json_array_append_new(array, item_json(&items[i]));
        else
            item_row(&table, &items[i]);
    free(items);
    if (json)
        ctl_print_json(array);
    else if (table_print(&table) < 0)
        return ctl_fail(-ENOMEM, NULL, "trash");
    return CTL_DONE;
}

static int run_trash(const struct ctl_command *self, int argc, char **argv)
{
    bool json = false;
    int code = ctl_json_option(self, argc, argv, &json);

    if (code >= 0)
        return code;
    if (argc - optind != 1)
        return ctl_misused(self, "wants WHERE");
    struct ctl_store *store = ctl_store_open(argv[optind], CTL_READ);
    if (!store)
        return CTL_FAILED;
    code = list_trash(store, json);
    ctl_store_close(store);
    return code;
}

const struct ctl_command ctl_trash = {
    .name = "trash",
    .arguments = "WHERE [--json]",
    .summary = "what was deleted and can be restored",
    .details =
        "Lists the topics and partitions in the trash, the oldest first: what each was, when it was removed, its\n"
        "bytes on disk, and the name to restore or discard it by. They stay for trash.retention.ms.\n\n"
        "  -j, --json   as a JSON array of objects",
    .run = run_trash,
};

/* ---- restore ---------------------------------------------------------------------------------------- */

static bool is_meant(const struct tlog_trash_item *item, const char *name, const struct ctl_target *target)
{
    if (strcmp(item->name, name) == 0)
        return true;
    return target && strcmp(item->topic, target->topic) == 0 && item->partition == target->partition;
}

/* The item of that name; or else, unless `exact`, what TOPIC or TOPIC/PARTITION was last removed as. Who may not look
 * into the trash has to know the name. */
static int find_item(struct ctl_store *store, const char *name, bool exact, struct tlog_trash_item *found)
{
    struct tlog_error ignored = {""};
    struct tlog_trash_item *items;
    struct ctl_target target;
    size_t count;
    bool is_target = !exact && ctl_target_parse(name, &target, &ignored) == 0;
    int result = store->backend->trash(store, &items, &count);

    if (result == -EACCES && strlen(name) < sizeof(found->name)) {
        *found = (struct tlog_trash_item){.partition = -1};
        memcpy(found->name, name, strlen(name) + 1);
        return 0;
    }
    if (result < 0)
        return result;
    result = ctl_error(&store->error, -ENOENT, "no such item in the trash");
    for (size_t i = count; result < 0 && i-- > 0;)
        if (is_meant(&items[i], name, is_target ? &target : NULL)) {
            *found = items[i];
            result = 0;
        }
    free(items);
    return result;
}

/* What the numbers of a mount mean here, in the words of the library. */
static void explain(struct ctl_store *store, int result, const struct tlog_trash_item *item)
{
    ctl_error_drop(&store->error, item->name);
    if (store->error.text[0] || item->topic[0] == '\0')
        return;
    if (result == -EEXIST)
        ctl_error(&store->error, result, "a %s is there",
                  item->partition < 0 ? "topic of that name" : "partition of that number");
    else if (result == -ENOENT && item->partition >= 0)
        ctl_error(&store->error, result, "its topic is not there");
    else if (result == -EBADMSG)
        ctl_error(&store->error, result, "its topic was made anew since");
}

/* `rm -r` removes the partitions before their topic: who restores the topic may want them, too. */
static void tell_others(struct ctl_store *store, const char *topic)
{
    struct tlog_trash_item *items;
    size_t count, others = 0;

    if (store->backend->trash(store, &items, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++)
        others += items[i].partition >= 0 && strcmp(items[i].topic, topic) == 0;
    free(items);
    if (others > 0)
        ctl_note("%s: partitions that were removed one by one are still in the trash: %zu", topic, others);
}

static int restore_one(struct ctl_store *store, const char *name, bool alone)
{
    struct tlog_trash_item item;
    int result = find_item(store, name, false, &item);

    if (result == 0) {
        store->error.text[0] = '\0';
        result = store->backend->restore(store, item.name);
        if (result < 0)
            explain(store, result, &item);
    }
    if (result < 0) {
        int code = ctl_fail(result, &store->error, "%s", name);
        return result == -EBADMSG ? CTL_NO : code; /* its topic is another one, or it is damaged */
    }
    if (item.partition >= 0)
        printf("%s/%d\n", item.topic, item.partition);
    else if (item.topic[0])
        printf("%s\n", item.topic);
    if (alone && item.partition < 0 && item.topic[0])
        tell_others(store, item.topic);
    return CTL_DONE;
}

static int run_restore(const struct ctl_command *self, int argc, char **argv)
{
    int code = CTL_DONE;

    for (int i = 1; i < argc; i++)
        if (argv[i][0] == '-')
            return ctl_misused(self, "%s: no such option", argv[i]);
    if (argc < 3)
        return ctl_misused(self, "wants WHERE and ITEM");
    struct ctl_store *store = ctl_store_open(argv[1], CTL_WRITE);
    if (!store)
        return CTL_FAILED;
    for (int i = 2; i < argc; i++) {
        int one = restore_one(store, argv[i], argc == 3);
        code = one > code ? one : code;
    }
    return ctl_store_close(store) < 0 ? CTL_FAILED : code;
}

const struct ctl_command ctl_restore = {
    .name = "restore",
    .arguments = "WHERE ITEM|TOPIC[/PARTITION]...",
    .summary = "put back what was deleted",
    .details =
        "Puts items of the trash back where they were, one after the other, and prints where. ITEM is a name that\n"
        "`topicctl trash` shows; for a TOPIC or TOPIC/PARTITION, the one removed last. Nothing that is there is\n"
        "replaced (exit status 1). A partition wants its topic back first.",
    .run = run_restore,
};

/* ---- discard ---------------------------------------------------------------------------------------- */

static int discard_all(struct ctl_store *store)
{
    struct tlog_trash_item *items;
    size_t count;
    int code = CTL_DONE, result = store->backend->trash(store, &items, &count);

    if (result < 0)
        return ctl_fail(result, &store->error, "%s", store->path);
    for (size_t i = 0; i < count; i++)
        if ((result = store->backend->discard(store, items[i].name)) < 0 && result != -ENOENT)
            code = ctl_fail(result, &store->error, "%s", items[i].name);
    free(items);
    return code;
}

static int discard_one(struct ctl_store *store, const char *name)
{
    struct tlog_trash_item item;
    int result = find_item(store, name, true, &item);

    if (result == 0) {
        store->error.text[0] = '\0';
        result = store->backend->discard(store, item.name);
    }
    return result < 0 ? ctl_fail(result, &store->error, "%s", name) : CTL_DONE;
}

static int run_discard(const struct ctl_command *self, int argc, char **argv)
{
    static const struct option options[] = {{"all", no_argument, NULL, 'a'}, {NULL, 0, NULL, 0}};
    int option, code = CTL_DONE;
    bool all = false;

    while ((option = getopt_long(argc, argv, "a", options, NULL)) != -1) {
        if (option != 'a')
            return ctl_misused_option(self);
        all = true;
    }
    if (all ? argc - optind != 1 : argc - optind < 2)
        return ctl_misused(self, all ? "--all wants WHERE alone" : "wants WHERE and ITEM");
    struct ctl_store *store = ctl_store_open(argv[optind], CTL_WRITE);
    if (!store)
        return CTL_FAILED;
    if (all)
        code = discard_all(store);
    for (int i = optind + 1; i < argc; i++) {
        int one = discard_one(store, argv[i]);
        code = one > code ? one : code;
    }
    return ctl_store_close(store) < 0 ? CTL_FAILED : code;
}

const struct ctl_command ctl_discard = {
    .name = "discard",
    .arguments = "WHERE ITEM...|--all",
    .summary = "remove from the trash, for good",
    .details = "Removes items of the trash for good. ITEM is a name that `topicctl trash` shows.\n\n"
               "  -a, --all   everything that is in the trash",
    .run = run_discard,
};
