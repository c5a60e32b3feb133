#include "options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "log.h"

enum { KEY_READ_ONLY, KEY_DEBUG, KEY_SINGLE };

#define FLAG(text, field)                                                                                              \
    {                                                                                                                  \
        text, offsetof(struct tfs_options, field), 1                                                                   \
    }

static const struct fuse_opt known[] = {
    FLAG("-f", foreground),
    FLAG("-h", help),
    FLAG("--help", help),
    FLAG("-V", version),
    FLAG("--version", version),
    FUSE_OPT_KEY("-d", KEY_DEBUG),
    FUSE_OPT_KEY("debug", KEY_DEBUG),
    FUSE_OPT_KEY("ro", KEY_READ_ONLY),
    FUSE_OPT_KEY("-r", KEY_READ_ONLY),
    /* what mount(8) may pass on from fstab, and nothing to us */
    FUSE_OPT_KEY("defaults", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("auto", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("noauto", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("user", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("nouser", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("users", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("_netdev", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("nofail", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("relatime", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("-s", KEY_SINGLE),
    FUSE_OPT_END,
};

static int take(void *data, const char *argument, int key, struct fuse_args *rest)
{
    enum { DROP, KEEP };
    struct tfs_options *options = data;

    (void)rest;
    switch (key) {
    case KEY_READ_ONLY:
        options->read_only = 1;
        return KEEP;
    case KEY_DEBUG:
        options->debug = options->foreground = 1;
        return KEEP;
    case KEY_SINGLE:
        return DROP;
    case FUSE_OPT_KEY_NONOPT:
        if (options->store == NULL)
            options->store = strdup(argument);
        else if (options->mountpoint == NULL)
            options->mountpoint = strdup(argument);
        else {
            tfs_say(LOG_ERR, "%s: one argument too many", argument);
            return -1;
        }
        return DROP;
    default:
        return KEEP;
    }
}

/* An absolute path for the store, which may not exist yet: the daemon changes its directory, and mount(8) shows it. */
static char *absolute_path(const char *path)
{
    char *absolute = realpath(path, NULL), *here;

    if (absolute != NULL || errno != ENOENT)
        return absolute;
    if (path[0] == '/')
        return strdup(path);
    here = getcwd(NULL, 0);
    if (here == NULL || asprintf(&absolute, "%s/%s", here, path) < 0)
        absolute = NULL;
    free(here);
    return absolute;
}

/* fsname takes commas and backslashes escaped. */
static int add_names(struct tfs_options *options)
{
    char *escaped = malloc(2 * strlen(options->store) + 1), *to = escaped, *text = NULL;
    int result = -ENOMEM;

    if (escaped == NULL)
        return -ENOMEM;
    for (const char *from = options->store; *from != '\0'; *to++ = *from++)
        if (*from == ',' || *from == '\\')
            *to++ = '\\';
    *to = '\0';
    /* First, so that what the caller gave comes later and holds. */
    if (asprintf(&text, "-odefault_permissions,subtype=topicfs,fsname=%s", escaped) >= 0 &&
        fuse_opt_insert_arg(&options->arguments, 1, text) == 0)
        result = 0;
    free(text);
    free(escaped);
    return result;
}

int tfs_options_parse(struct tfs_options *options, int argc, char **argv)
{
    *options = (struct tfs_options){.arguments = FUSE_ARGS_INIT(argc, argv)};
    if (fuse_opt_parse(&options->arguments, options, known, take) != 0)
        return -EINVAL;
    if (options->help || options->version)
        return 0;
    if (options->store == NULL || options->mountpoint == NULL) {
        tfs_say(LOG_ERR, "%s is missing, see topicfs --help", options->store == NULL ? "STORE" : "MOUNTPOINT");
        return -EINVAL;
    }
    char *store = absolute_path(options->store);
    if (store == NULL) {
        tfs_say(LOG_ERR, "%s: %s", options->store, strerror(errno));
        return -EINVAL;
    }
    free(options->store);
    options->store = store;
    return add_names(options);
}

void tfs_options_release(struct tfs_options *options)
{
    free(options->store);
    free(options->mountpoint);
    fuse_opt_free_args(&options->arguments);
}

void tfs_options_help(void)
{
    fputs("usage: topicfs [OPTIONS] STORE MOUNTPOINT\n"
          "\n"
          "Serves the topics in the directory STORE, made if it is missing or empty, as files below MOUNTPOINT.\n"
          "Stop it with `fusermount3 -u MOUNTPOINT` or SIGTERM: what was written is on disk when it has ended.\n"
          "\n"
          "  -f                stay in the foreground\n"
          "  -d, -o debug      the same, and print every request\n"
          "  -o allow_other    let other users in; modes and owners decide who may do what\n"
          "  -o allow_root     let root in\n"
          "  -o ro             show what is there, change nothing\n"
          "  -o OPTION,...     other options of mount.fuse(8)\n"
          "  -h, --help        this text\n"
          "  -V, --version     the version\n",
          stdout);
}
