/* adopt, clone: what a store that was moved or copied is from now on. */
#include <errno.h>
#include <stdio.h>

#include "tools/ctl.h"
#include "tools/store.h"

static int settle(const struct ctl_command *self, int argc, char **argv,
                  int (*what)(const char *path, struct tlog_error *error))
{
    struct tlog_error error = {""};

    if (argc != 2 || argv[1][0] == '-')
        return ctl_misused(self, "wants the directory of the store");
    const char *path = argv[1];
    if (ctl_is_mount(path) == 1)
        return ctl_misused(self, "%s is a mountpoint: stop its daemon and name the store directory", path);
    int holder = ctl_store_holder(path), result = what(path, &error);
    if (result == -EWOULDBLOCK && holder > 0)
        ctl_error(&error, result, "process %d has this store open: stop it first", holder);
    else if (result == -EWOULDBLOCK)
        ctl_error(&error, result, "another process has this store open: stop it first");
    if (result == 0)
        return CTL_DONE;
    ctl_error_drop(&error, path);
    ctl_fail(result, &error, "%s", path);
    return CTL_FAILED; /* a store that is not there is no "no" */
}

static int run_adopt(const struct ctl_command *self, int argc, char **argv)
{
    return settle(self, argc, argv, tlog_adopt);
}

static int run_clone(const struct ctl_command *self, int argc, char **argv)
{
    return settle(self, argc, argv, tlog_clone);
}

const struct ctl_command ctl_adopt = {
    .name = "adopt",
    .arguments = "STORE",
    .summary = "say that a store was moved here, or restored: it stays the same one",
    .details =
        "Says that a store was moved to where it is, or restored from a copy, and that the original is no more. It\n"
        "keeps its id. For a copy beside the original, see clone.",
    .run = run_adopt,
};

const struct ctl_command ctl_clone = {
    .name = "clone",
    .arguments = "STORE",
    .summary = "say that a store is a copy: it becomes another one",
    .details = "Says that a store is a copy of one that lives on. It gets an id of its own.",
    .run = run_clone,
};
