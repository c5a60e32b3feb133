/* The keys of .config and their text: parsing, checking, changing in place, writing.
 *
 * Text is lines of `key=value`, blank lines, and comments whose first character is `#`. Blanks around keys and
 * values do not count. Given twice, a key has the value that was given last. Sizes take B, KiB, MiB, GiB, TiB
 * (K, M, G, T mean the same powers of 1024), times take ms, s, m, h, d, w; plain digits are bytes and
 * milliseconds, as in Kafka.
 *
 * Pure functions on text, for any thread. What several keys must be together (partitions <= partitions.max) is
 * checked by the store, which knows what is inherited. */
#ifndef TLOG_CONFIG_H
#define TLOG_CONFIG_H

#include "log/topiclog.h"

struct tlog_config {
    int64_t values[TLOG_KEYS];
    uint32_t set; /* bit k: values[k] was given */
};

static inline bool tlog_config_has(const struct tlog_config *config, enum tlog_key key)
{
    return config->set >> key & 1;
}

/* Adds the keys given in text[0, length) to `into`. -EINVAL with "line 3: retention.msx: unknown key", nothing
 * changed, when any line is not one of the above, a value is out of range, or a byte is NUL. */
int tlog_config_parse(const char *text, size_t length, struct tlog_config *into, struct tlog_error *error);

/* `old_text` with the lines of `new_text` set in it: a key that old_text has gets its line replaced there (the
 * last one, which is in force), other keys and all comments are appended in their order, blank lines of new_text
 * are dropped. `*out` is to be freed. -EINVAL when new_text does not parse (old_text may be anything), -ENOMEM. */
int tlog_config_merge(const char *old_text, const char *new_text, char **out, struct tlog_error *error);

#endif
