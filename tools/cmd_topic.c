/* create, delete, init. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/ctl.h"
#include "tools/store.h"

/* ---- create ----------------------------------------------------------------------------------------- */

struct create {
    unsigned partitions; /* 0: not given */
    char *config;        /* lines of key=value */
};

static int add_line(struct create *create, const char *line)
{
    char *joined;

    if (asprintf(&joined, "%s%s\n", create->config ? create->config : "", line) < 0)
        return ctl_fail(-ENOMEM, NULL, "--set");
    free(create->config);
    create->config = joined;
    return 0;
}

static int create_topic(struct ctl_store *store, const struct ctl_target *target, const struct create *create)
{
    int result = store->backend->create(store, target->topic, create->partitions);

    if (result < 0 || !create->config)
        return result;
    result = store->backend->config_set(store, target->topic, create->config, false);
    if (result < 0) {
        struct tlog_error why = store->error;
        store->backend->remove(store, target->topic, -1);
        store->error = why;
    }
    return result;
}

static int create_at(const char *where, const char *name, const struct create *create)
{
    struct tlog_error error = {""};
    struct ctl_target target;
    int code = CTL_DONE, result = ctl_target_parse(name, &target, &error);

    if (result < 0)
        return ctl_fail(result, &error, "%s", name);
    if (create->config && (result = tlog_config_check(create->config, &error)) < 0)
        return ctl_fail(result, &error, "--set");
    struct ctl_store *store = ctl_store_open(where, CTL_WRITE);
    if (!store)
        return CTL_FAILED;
    if (target.partition >= 0)
        result = store->backend->add(store, target.topic, (unsigned)target.partition);
    else
        result = create_topic(store, &target, create);
    if (result < 0)
        code = ctl_fail(result, &store->error, "%s", name);
    return ctl_store_close(store) < 0 ? CTL_FAILED : code;
}

static int parse_create(const struct ctl_command *self, int argc, char **argv, struct create *create)
{
    static const struct option options[] = {
        {"partitions", required_argument, NULL, 'p'}, {"set", required_argument, NULL, 's'}, {NULL, 0, NULL, 0}};
    uint64_t number;
    int option, code = 0;

    while (code == 0 && (option = getopt_long(argc, argv, "p:s:", options, NULL)) != -1) {
        if (option == 'p' && ctl_number_parse(optarg, 100000, &number) && number > 0)
            create->partitions = (unsigned)number;
        else if (option == 's')
            code = add_line(create, optarg);
        else if (option == 'p')
            code = ctl_misused(self, "%s: not a number of partitions (1 to 100000)", optarg);
        else
            code = ctl_misused_option(self);
    }
    return code;
}

static int run_create(const struct ctl_command *self, int argc, char **argv)
{
    struct create create = {.partitions = 0};
    int code = parse_create(self, argc, argv, &create);
    const char *slash = code == 0 && argc - optind == 2 ? strchr(argv[optind + 1], '/') : NULL;

    if (code == 0 && argc - optind != 2)
        code = ctl_misused(self, "wants WHERE and TOPIC");
    else if (code == 0 && slash && slash[1] && (create.partitions || create.config))
        code = ctl_misused(self, "--partitions and --set are for a new topic, not for a partition");
    else if (code == 0)
        code = create_at(argv[optind], argv[optind + 1], &create);
    free(create.config);
    return code;
}

const struct ctl_command ctl_create = {
    .name = "create",
    .arguments = "WHERE TOPIC[/PARTITION] [--partitions N] [--set KEY=VALUE]...",
    .summary = "make a topic, or add partitions up to a number",
    .details = "Makes a topic. With a PARTITION, adds it, and every missing one below it, to a topic.\n\n"
               "  -p, --partitions N    with N partitions (default: the root configuration's `partitions`)\n"
               "  -s, --set KEY=VALUE   with this key in its .config; may be given again",
    .run = run_create,
};

/* ---- delete ----------------------------------------------------------------------------------------- */

static int describe_loss(struct ctl_store *store, const struct ctl_target *target)
{
    struct ctl_summary *all;
    size_t count, partitions = 0;
    uint64_t records = 0, bytes = 0;
    int result = store->backend->partitions(store, target->topic, &all, &count);

    if (result < 0)
        return result;
    for (size_t i = 0; i < count; i++) {
        if (target->partition >= 0 && all[i].number != (unsigned)target->partition)
            continue;
        partitions++;
        records += all[i].records;
        bytes += all[i].end - all[i].start;
    }
    free(all);
    if (partitions == 0 && target->partition >= 0)
        return ctl_error(&store->error, -ENOENT, "no such partition");
    fprintf(stderr, "%zu partition%s, %" PRIu64 " records, %" PRIu64 " bytes. ", partitions, partitions == 1 ? "" : "s",
            records, bytes);
    return 0;
}

static bool confirmed(const char *name)
{
    char answer[16];

    fprintf(stderr, "Delete %s? [y/N] ", name);
    fflush(stderr);
    return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static int delete_at(const char *where, const char *name, bool ask)
{
    struct tlog_error error = {""};
    struct ctl_target target;
    int code = CTL_DONE, result = ctl_target_parse(name, &target, &error);

    if (result < 0)
        return ctl_fail(result, &error, "%s", name);
    struct ctl_store *store = ctl_store_open(where, CTL_WRITE);
    if (!store)
        return CTL_FAILED;
    if (ask)
        result = describe_loss(store, &target);
    if (result == 0 && ask && !confirmed(name)) {
        ctl_note("%s: left as it is", name);
        code = CTL_NO;
    } else {
        if (result == 0)
            result = store->backend->remove(store, target.topic, target.partition);
        if (result < 0)
            code = ctl_fail(result, &store->error, "%s", name);
    }
    return ctl_store_close(store) < 0 ? CTL_FAILED : code;
}

static int run_delete(const struct ctl_command *self, int argc, char **argv)
{
    static const struct option options[] = {{"yes", no_argument, NULL, 'y'}, {NULL, 0, NULL, 0}};
    bool yes = false;
    int option;

    while ((option = getopt_long(argc, argv, "y", options, NULL)) != -1) {
        if (option != 'y')
            return ctl_misused_option(self);
        yes = true;
    }
    if (argc - optind != 2)
        return ctl_misused(self, "wants WHERE and TOPIC");
    if (!yes && !isatty(STDIN_FILENO))
        return ctl_misused(self, "nobody to ask here: say --yes to delete %s", argv[optind + 1]);
    return delete_at(argv[optind], argv[optind + 1], !yes);
}

const struct ctl_command ctl_delete = {
    .name = "delete",
    .arguments = "WHERE TOPIC[/PARTITION] [--yes]",
    .summary = "delete a topic or a partition, records and all",
    .details =
        "Deletes a topic, or one partition of it, whatever delete.enable says. The files go to the store's trash.\n\n"
        "  -y, --yes   do not ask (wanted where standard input is not a terminal)",
    .run = run_delete,
};

/* ---- init ------------------------------------------------------------------------------------------- */

static int run_init(const struct ctl_command *self, int argc, char **argv)
{
    if (argc != 2 || argv[1][0] == '-')
        return ctl_misused(self, "wants the directory of the new store");
    struct ctl_store *store = ctl_store_open(argv[1], CTL_MAKE);
    if (!store)
        return CTL_FAILED;
    if (store->online) {
        ctl_store_close(store);
        return ctl_misused(self, "%s is a mountpoint", argv[1]);
    }
    return ctl_store_close(store) < 0 ? CTL_FAILED : CTL_DONE;
}

const struct ctl_command ctl_init = {
    .name = "init",
    .arguments = "STORE",
    .summary = "make an empty store in a directory that is missing or empty",
    .details =
        "Makes a store. The daemon does so too when it is started on such a directory; a store that exists is left\n"
        "as it is.",
    .run = run_init,
};
