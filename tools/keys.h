/* The keys in force for a topic, and where each comes from: the same online and offline, from the texts. */
#ifndef CTL_KEYS_H
#define CTL_KEYS_H

#include <jansson.h>

#include "tools/store.h"

struct keys {
    int64_t values[TLOG_KEYS];
    const char *sources[TLOG_KEYS]; /* "topic", "root" or "default" */
};

/* topic NULL: the root configuration's. 0 or -errno. */
int keys_load(struct ctl_store *store, const char *topic, struct keys *out);
/* The key of that name; TLOG_KEYS when there is none. */
enum tlog_key keys_find(const char *name);
/* {"segment.bytes": 268435456, "message.format": "lines", ...}: numbers in bytes and milliseconds. */
json_t *keys_json(const struct keys *keys);
json_t *keys_json_value(const struct keys *keys, enum tlog_key key);

#endif
