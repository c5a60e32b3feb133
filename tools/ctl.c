#include "tools/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

volatile int ctl_stopped;

void ctl_help(const struct ctl_command *command)
{
    printf("usage: topicctl %s %s\n\n%s\n", command->name, command->arguments, command->details);
}

void ctl_note(const char *format, ...)
{
    va_list arguments;

    fputs("topicctl: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

int ctl_fail(int result, const struct tlog_error *error, const char *subject, ...)
{
    va_list arguments;

    fputs("topicctl: ", stderr);
    va_start(arguments, subject);
    vfprintf(stderr, subject, arguments);
    va_end(arguments);
    fprintf(stderr, ": %s\n", error && error->text[0] ? error->text : strerror(-result));
    if (result == -ENOENT || result == -EEXIST)
        return CTL_NO;
    return result == -EINVAL || result == -ENAMETOOLONG ? CTL_USAGE : CTL_FAILED;
}

int ctl_misused_option(const struct ctl_command *command)
{
    fprintf(stderr, "usage: topicctl %s %s\n", command->name, command->arguments);
    return CTL_USAGE;
}

int ctl_misused(const struct ctl_command *command, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "topicctl: %s: ", command->name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return ctl_misused_option(command);
}

int ctl_json_option(const struct ctl_command *command, int argc, char **argv, bool *json)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "j", options, NULL)) != -1) {
        if (option != 'j')
            return ctl_misused_option(command);
        *json = true;
    }
    return -1;
}

int ctl_error(struct tlog_error *error, int result, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    return result;
}

void ctl_error_drop(struct tlog_error *error, const char *subject)
{
    size_t length = strlen(subject);

    if (strncmp(error->text, subject, length) == 0 && strncmp(error->text + length, ": ", 2) == 0)
        memmove(error->text, error->text + length + 2, strlen(error->text + length + 2) + 1);
}

bool ctl_number_parse(const char *text, uint64_t most, uint64_t *out)
{
    uint64_t value = 0;

    if (*text == '\0')
        return false;
    for (; *text; text++)
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *text - '0', &value))
            return false;
    *out = value;
    return value <= most;
}

int ctl_target_parse(const char *text, struct ctl_target *out, struct tlog_error *error)
{
    const char *slash = strchr(text, '/');
    size_t length = slash ? (size_t)(slash - text) : strlen(text);
    uint64_t number = 0;

    out->partition = -1;
    if (length >= sizeof(out->topic))
        return ctl_error(error, -ENAMETOOLONG, "a topic's name has at most 249 characters");
    memcpy(out->topic, text, length);
    out->topic[length] = '\0';
    if (length == 0 || out->topic[0] == '.' ||
        strspn(out->topic, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != length)
        return ctl_error(error, -EINVAL, "not a topic's name (letters, digits, . _ -, not starting with a dot)");
    if (length > 249)
        return ctl_error(error, -ENAMETOOLONG, "a topic's name has at most 249 characters");
    if (!slash || slash[1] == '\0') /* shells complete directories with a slash */
        return 0;
    if (!ctl_number_parse(slash + 1, 99999, &number) || (slash[1] == '0' && slash[2] != '\0'))
        return ctl_error(error, -EINVAL, "%s: not a partition's number", slash + 1);
    out->partition = (int)number;
    return 0;
}

int ctl_write_all(int fd, const void *data, size_t length)
{
    const char *from = data;

    while (length > 0) {
        ssize_t written = write(fd, from, length);
        if (written < 0 && errno == EAGAIN)
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        else if (written < 0 && (errno != EINTR || ctl_stopped))
            return -errno;
        if (written > 0) {
            from += written;
            length -= (size_t)written;
        }
    }
    return 0;
}

int ctl_flush(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    return ctl_fail(-errno, NULL, "standard output");
}

void ctl_print_json(json_t *value)
{
    json_dumpf(value, stdout, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
    putchar('\n');
    json_decref(value);
}

/* The length of the UTF-8 sequence at `text`, 0 when jansson would refuse it. */
static size_t utf8_length(const char *text, size_t length)
{
    for (size_t n = 1; n <= 4 && n <= length; n++) {
        json_t *character = json_stringn(text, n);
        if (character) {
            json_decref(character);
            return n;
        }
    }
    return 0;
}

json_t *ctl_json_text(const char *text, size_t length)
{
    json_t *whole = json_stringn(text, length);
    size_t used = 0;

    if (whole)
        return whole;
    char *fixed = malloc(3 * length + 1);
    if (!fixed)
        return NULL;
    for (size_t i = 0, n; i < length; i += n) {
        n = utf8_length(text + i, length - i);
        memcpy(fixed + used, n > 0 ? text + i : "\xef\xbf\xbd", n > 0 ? n : 3);
        used += n > 0 ? n : 3;
        n = n > 0 ? n : 1;
    }
    whole = json_stringn(fixed, used);
    free(fixed);
    return whole;
}

static int stop_pipe[2] = {-1, -1}; /* a byte in it: ctl_stopped is set */

static void on_signal(int number)
{
    int saved = errno;
    (void)number;
    ctl_stopped = 1;
    (void)!write(stop_pipe[1], "", 1);
    errno = saved;
}

void ctl_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND}; /* a second one kills */

    if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        stop_pipe[0] = stop_pipe[1] = -1; /* which poll(2) leaves out */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

/* By a pipe, as the signal may be handled in any of the store's threads. */
void ctl_wait_readable(int fd)
{
    struct pollfd either[] = {{.fd = fd, .events = POLLIN}, {.fd = stop_pipe[0], .events = POLLIN}};

    while (!ctl_stopped && poll(either, 2, -1) < 0 && errno == EINTR)
        ;
}
