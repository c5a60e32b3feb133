/* topicctl: administers topics, produces and consumes, by mountpoint or on a store that nobody has open. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ctl.h"

static const struct ctl_command *const commands[] = {
    &ctl_list,  &ctl_describe, &ctl_create,  &ctl_delete, &ctl_config, &ctl_produce, &ctl_consume, &ctl_trim,
    &ctl_trash, &ctl_restore,  &ctl_discard, &ctl_verify, &ctl_dump,   &ctl_init,    &ctl_adopt,   &ctl_clone,
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_commands(FILE *to)
{
    fputs("usage: topicctl COMMAND WHERE [TOPIC[/PARTITION]] [options]\n\n"
          "WHERE is a mountpoint of topicfs, or a store directory that no daemon has open.\n\n",
          to);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\ntopicctl COMMAND --help tells more; topicctl(1) tells all.\n", to);
}

static const struct ctl_command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;

    if (!name) {
        print_commands(stderr);
        return CTL_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_commands(stdout);
        return ctl_flush(CTL_DONE);
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        puts("topicctl " TOPICFS_VERSION);
        return ctl_flush(CTL_DONE);
    }
    const struct ctl_command *command = find_command(name);
    if (!command) {
        ctl_note("%s: no such command (topicctl --help lists them)", name);
        return CTL_USAGE;
    }
    if (asks_for_help(argc - 1, argv + 1)) {
        ctl_help(command);
        return ctl_flush(CTL_DONE);
    }
    return ctl_flush(command->run(command, argc - 1, argv + 1));
}
