/* config: show, get, set, unset, edit. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/ctl.h"
#include "tools/keys.h"
#include "tools/store.h"

struct request {
    const char *topic; /* NULL: the root's */
    char subject[300]; /* for messages */
    bool json, edit, text;
    enum tlog_key get[TLOG_KEYS];
    size_t gets;
    char *set; /* lines of key=value */
    bool unset[TLOG_KEYS], unsets;
};

/* ---- showing ---------------------------------------------------------------------------------------- */

static void show_keys(const struct request *request, const struct keys *keys)
{
    json_t *object = request->json ? json_object() : NULL;
    char value[32];

    for (enum tlog_key key = 0; key < TLOG_KEYS; key++) {
        if (object)
            json_object_set_new(
                object, tlog_key_name(key),
                json_pack("{s:o, s:s}", "value", keys_json_value(keys, key), "from", keys->sources[key]));
        else
            printf("%s=%s  # %s\n", tlog_key_name(key), tlog_key_format(key, keys->values[key], value),
                   keys->sources[key]);
    }
    if (object)
        ctl_print_json(object);
}

static void show_some(const struct request *request, const struct keys *keys)
{
    json_t *object = request->json ? json_object() : NULL;
    char value[32];

    for (size_t i = 0; i < request->gets; i++) {
        enum tlog_key key = request->get[i];
        if (object)
            json_object_set_new(object, tlog_key_name(key), keys_json_value(keys, key));
        else
            puts(tlog_key_format(key, keys->values[key], value));
    }
    if (object)
        ctl_print_json(object);
}

static int show(struct ctl_store *store, const struct request *request)
{
    struct keys keys;
    char *text;
    int result;

    if (request->text) {
        if ((result = store->backend->config_text(store, request->topic, &text)) == 0) {
            fputs(text, stdout);
            free(text);
        }
    } else if ((result = keys_load(store, request->topic, &keys)) == 0) {
        if (request->gets > 0)
            show_some(request, &keys);
        else
            show_keys(request, &keys);
    }
    return result < 0 ? ctl_fail(result, &store->error, "%s", request->subject) : CTL_DONE;
}

/* ---- changing --------------------------------------------------------------------------------------- */

/* Takes the lines that set one of the keys out of `text`, in place. */
static void remove_lines(char *text, const bool *keys)
{
    char *to = text, *line = text;

    while (*line) {
        size_t length = strcspn(line, "\n"), name = strspn(line, " \t"), end = name;
        char key[64] = "";
        end += strcspn(line + name, " \t\r=\n");
        if (end - name < sizeof(key))
            memcpy(key, line + name, end - name);
        enum tlog_key found = keys_find(key);
        length += line[length] == '\n';
        if (found == TLOG_KEYS || !keys[found]) {
            memmove(to, line, length);
            to += length;
        }
        line += length;
    }
    *to = '\0';
}

static int change(struct ctl_store *store, const struct request *request)
{
    int result = 0;
    char *text;

    if (request->unsets && (result = store->backend->config_text(store, request->topic, &text)) == 0) {
        remove_lines(text, request->unset);
        result = store->backend->config_set(store, request->topic, text, true);
        free(text);
    }
    if (result == 0 && request->set)
        result = store->backend->config_set(store, request->topic, request->set, false);
    return result < 0 ? ctl_fail(result, &store->error, "%s", request->subject) : CTL_DONE;
}

/* ---- editing ---------------------------------------------------------------------------------------- */

/* The editor is a shell command, as in git and crontab: EDITOR="emacs -nw" works. */
static int run_editor(const char *file)
{
    const char *editor = getenv("VISUAL");
    int status;

    if (!editor || !*editor)
        editor = getenv("EDITOR");
    if (!editor || !*editor)
        editor = "vi";
    char *command;
    if (asprintf(&command, "%s \"$1\"", editor) < 0)
        return -ENOMEM;
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", command, editor, file, (char *)NULL);
        _exit(127);
    }
    free(command);
    if (child < 0)
        return -errno;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECANCELED;
}

static int load_file(const char *file, char **out)
{
    struct stat status;
    int fd = open(file, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    int result = fstat(fd, &status) < 0 ? -errno : status.st_size > 1 << 20 ? -EFBIG : 0;
    char *text = result == 0 ? calloc(1, (size_t)status.st_size + 1) : NULL;
    if (result == 0 && !text)
        result = -ENOMEM;
    if (result == 0 && read(fd, text, (size_t)status.st_size) != status.st_size)
        result = -EIO;
    close(fd);
    if (result < 0)
        free(text);
    else
        *out = text;
    return result;
}

/* Edits until it can be applied or the person gives up. 0 with the text in `*out`. */
static int edit_file(const char *file, const struct request *request, char **out)
{
    struct tlog_error error;
    char answer[16];

    for (;;) {
        int result = run_editor(file);
        if (result == 0)
            result = load_file(file, out);
        if (result == 0 && (result = tlog_config_check(*out, &error)) == 0)
            return 0;
        if (result != -EINVAL)
            return result;
        free(*out);
        *out = NULL;
        ctl_note("%s: %s", request->subject, error.text);
        if (!isatty(STDIN_FILENO))
            return result;
        fputs("Edit it again? [Y/n] ", stderr);
        fflush(stderr);
        if (!fgets(answer, sizeof(answer), stdin) || answer[0] == 'n' || answer[0] == 'N')
            return result;
    }
}

static int apply_edited(struct ctl_store *store, const struct request *request, const char *before, const char *after)
{
    char *now;

    if (strcmp(before, after) == 0) {
        ctl_note("%s: unchanged", request->subject);
        return 0;
    }
    int result = store->backend->config_text(store, request->topic, &now);
    if (result < 0)
        return result;
    if (strcmp(before, now) != 0)
        result = ctl_error(&store->error, -ECANCELED, "somebody else changed it meanwhile");
    free(now);
    return result < 0 ? result : store->backend->config_set(store, request->topic, after, true);
}

static int edit_text(struct ctl_store *store, const struct request *request, const char *before)
{
    const char *directory = getenv("TMPDIR");
    char *file, *after = NULL;

    if (asprintf(&file, "%s/topicctl.XXXXXX", directory && *directory ? directory : "/tmp") < 0)
        return ctl_fail(-ENOMEM, NULL, "%s", request->subject);
    int fd = mkostemp(file, O_CLOEXEC), code = CTL_DONE;
    int result = fd < 0 ? -errno : ctl_write_all(fd, before, strlen(before));
    if (fd >= 0 && close(fd) < 0 && result == 0)
        result = -errno;
    if (result < 0) {
        code = ctl_fail(result, NULL, "%s", file);
    } else {
        result = edit_file(file, request, &after);
        if (result == 0)
            result = apply_edited(store, request, before, after);
        if (result == -EINVAL && !after)
            code = CTL_USAGE; /* said already */
        else if (result < 0)
            code = ctl_fail(result, &store->error, "%s", request->subject);
    }
    if (fd >= 0 && code == CTL_DONE)
        unlink(file);
    else if (fd >= 0)
        ctl_note("%s: nothing was changed; what you wrote is in %s", request->subject, file);
    free(after);
    free(file);
    return code;
}

static int edit(struct ctl_store *store, const struct request *request)
{
    char *before;
    int result = store->backend->config_text(store, request->topic, &before);

    if (result < 0)
        return ctl_fail(result, &store->error, "%s", request->subject);
    int code = edit_text(store, request, before);
    free(before);
    return code;
}

/* ---- the command line ------------------------------------------------------------------------------- */

static int add_key(struct request *request, int option, const char *text)
{
    enum tlog_key key = keys_find(text);

    if (key == TLOG_KEYS) {
        ctl_note("%s: unknown key", text);
        return CTL_USAGE;
    }
    if (option == 'u')
        request->unset[key] = request->unsets = true;
    else if (request->gets < TLOG_KEYS)
        request->get[request->gets++] = key;
    return 0;
}

static int add_setting(struct request *request, const char *line)
{
    struct tlog_error error;
    char *joined;

    if (tlog_config_check(line, &error) < 0) {
        const char *what = strstr(error.text, ": "); /* without "line 1: " */
        ctl_note("%s", what ? what + 2 : error.text);
        return CTL_USAGE;
    }
    if (asprintf(&joined, "%s%s\n", request->set ? request->set : "", line) < 0)
        return ctl_fail(-ENOMEM, NULL, "--set");
    free(request->set);
    request->set = joined;
    return 0;
}

static int parse_options(const struct ctl_command *self, int argc, char **argv, struct request *request)
{
    static const struct option options[] = {
        {"get", required_argument, NULL, 'g'},
        {"set", required_argument, NULL, 's'},
        {"unset", required_argument, NULL, 'u'},
        {"edit", no_argument, NULL, 'e'},
        {"text", no_argument, NULL, 't'},
        {"json", no_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    int option, code = 0;

    while (code == 0 && (option = getopt_long(argc, argv, "g:s:u:etj", options, NULL)) != -1) {
        if (option == 'g' || option == 'u')
            code = add_key(request, option, optarg);
        else if (option == 's')
            code = add_setting(request, optarg);
        else if (option == 'e')
            request->edit = true;
        else if (option == 't')
            request->text = true;
        else if (option == 'j')
            request->json = true;
        else
            code = ctl_misused_option(self);
    }
    return code;
}

static int run_at(const struct ctl_command *self, const char *where, const char *topic, struct request *request)
{
    struct tlog_error error = {""};
    struct ctl_target target;
    bool changes = request->set || request->unsets;
    int result, code;

    if (topic && (result = ctl_target_parse(topic, &target, &error)) < 0)
        return ctl_fail(result, &error, "%s", topic);
    if (topic && target.partition >= 0)
        return ctl_misused(self, "%s: keys are a topic's, not a partition's", topic);
    if (changes + request->edit + (request->gets > 0 || request->text || request->json) > 1)
        return ctl_misused(self, "either get, or set and unset, or edit");
    request->topic = topic ? target.topic : NULL;
    snprintf(request->subject, sizeof(request->subject), "%s", topic ? target.topic : "root configuration");
    struct ctl_store *store = ctl_store_open(where, changes || request->edit ? CTL_WRITE : CTL_READ);
    if (!store)
        return CTL_FAILED;
    code = changes ? change(store, request) : request->edit ? edit(store, request) : show(store, request);
    return ctl_store_close(store) < 0 ? CTL_FAILED : code;
}

static int run_config(const struct ctl_command *self, int argc, char **argv)
{
    struct request request = {.topic = NULL};
    int code = parse_options(self, argc, argv, &request);

    if (code == 0 && argc - optind != 1 && argc - optind != 2)
        code = ctl_misused(self, "wants WHERE and perhaps TOPIC");
    if (code == 0)
        code = run_at(self, argv[optind], argc - optind == 2 ? argv[optind + 1] : NULL, &request);
    free(request.set);
    return code;
}

const struct ctl_command ctl_config = {
    .name = "config",
    .arguments = "WHERE [TOPIC] [--get KEY | --set KEY=VALUE | --unset KEY]... [--edit] [--text] [--json]",
    .summary = "show or change the keys of a topic, or of all",
    .details =
        "Shows the keys in force and where each comes from: the topic, the root, or the default. Without a TOPIC,\n"
        "the root configuration, which every topic inherits.\n\n"
        "  -g, --get KEY         the value of this key alone; may be given again\n"
        "  -s, --set KEY=VALUE   set it; may be given again, all take effect as one\n"
        "  -u, --unset KEY       take it out, so that it is inherited\n"
        "  -e, --edit            in $VISUAL or $EDITOR; checked before it is applied\n"
        "  -t, --text            the configuration file as it is, comments and all\n"
        "  -j, --json            as a JSON object",
    .run = run_config,
};
