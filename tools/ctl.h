/* What the commands of topicctl share: their table, messages and exit codes, targets, JSON.
 *
 * Results inside are 0 or -errno; a command's run returns an exit code. One thread. */
#ifndef CTL_H
#define CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "log/topiclog.h"

enum {
    CTL_DONE = 0,
    CTL_NO = 1,       /* damage found, no such topic, one there already */
    CTL_USAGE = 2,    /* the command line, a name or a value is wrong */
    CTL_FAILED = 111, /* the system refused */
};

struct ctl_command {
    const char *name;
    const char *arguments; /* as in "WHERE TOPIC [--json]" */
    const char *summary;   /* half a line */
    const char *details;   /* for --help: options, one a line */
    int (*run)(const struct ctl_command *self, int argc, char **argv);
};

extern const struct ctl_command ctl_init, ctl_create, ctl_delete, ctl_list, ctl_describe, ctl_config, ctl_produce,
    ctl_consume, ctl_verify, ctl_dump, ctl_trim, ctl_trash, ctl_restore, ctl_discard, ctl_adopt, ctl_clone;

void ctl_help(const struct ctl_command *command);

/* "topicctl: ..." on stderr, without an ending. */
void ctl_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Says "topicctl: SUBJECT: WHAT": the sentence in `error` if there is one, else strerror(-result). Returns the
 * exit code that fits: CTL_NO for -ENOENT and -EEXIST, CTL_USAGE for -EINVAL and -ENAMETOOLONG, else CTL_FAILED. */
int ctl_fail(int result, const struct tlog_error *error, const char *subject, ...)
    __attribute__((format(printf, 3, 4)));
/* Says what is wrong with the command line and how it wants to be; CTL_USAGE. */
int ctl_misused(const struct ctl_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for getopt_long's '?', which has spoken already. */
int ctl_misused_option(const struct ctl_command *command);

/* Parses the options of a command that knows --json alone. -1, or the exit code of a usage error. */
int ctl_json_option(const struct ctl_command *command, int argc, char **argv, bool *json);

/* A sentence into `error`; `result` is returned. */
int ctl_error(struct tlog_error *error, int result, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Takes "SUBJECT: " off the front, for ctl_fail is going to say it. */
void ctl_error_drop(struct tlog_error *error, const char *subject);

/* TOPIC or TOPIC/PARTITION. */
struct ctl_target {
    char topic[256];
    int partition; /* -1: none given */
};
int ctl_target_parse(const char *text, struct ctl_target *out, struct tlog_error *error);
/* Decimal digits, at most `most`. */
bool ctl_number_parse(const char *text, uint64_t most, uint64_t *out);

/* Writes everything to a descriptor, whatever signals and non-blocking pipes do. */
int ctl_write_all(int fd, const void *data, size_t length);
/* Flushes stdout; the exit code becomes CTL_FAILED if what was printed did not arrive. */
int ctl_flush(int code);
/* Prints and releases a JSON value, a line. */
void ctl_print_json(json_t *value);
/* A JSON string from bytes that need not be UTF-8: what is not becomes U+FFFD. */
json_t *ctl_json_text(const char *text, size_t length);

/* Set by SIGINT, SIGTERM and SIGHUP once ctl_catch_signals was called: long work ends at the next record. */
extern volatile int ctl_stopped;
void ctl_catch_signals(void);
/* Waits until a read of `fd` has something to give (data, its end, an error) or ctl_stopped is set. A signal that comes
 * just before a blocking read(2) would be waited out. */
void ctl_wait_readable(int fd);

#endif
