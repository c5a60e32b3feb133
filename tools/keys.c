#include "tools/keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ctl.h"

static int apply(struct ctl_store *store, const char *topic, struct keys *keys)
{
    char *text;
    int result = store->backend->config_text(store, topic, &text);

    for (enum tlog_key key = 0; result >= 0 && key < TLOG_KEYS; key++) {
        result = tlog_config_value(text, key, &keys->values[key]);
        if (result == 1)
            keys->sources[key] = topic ? "topic" : "root";
        if (result < 0)
            tlog_config_check(text, &store->error);
    }
    if (result >= 0 || result == -EINVAL)
        free(text);
    return result < 0 ? result : 0;
}

int keys_load(struct ctl_store *store, const char *topic, struct keys *out)
{
    for (enum tlog_key key = 0; key < TLOG_KEYS; key++) {
        out->values[key] = tlog_key_default(key);
        out->sources[key] = "default";
    }
    int result = apply(store, NULL, out);
    return result == 0 && topic ? apply(store, topic, out) : result;
}

enum tlog_key keys_find(const char *name)
{
    enum tlog_key key = 0;

    while (key < TLOG_KEYS && strcmp(name, tlog_key_name(key)) != 0)
        key++;
    return key;
}

json_t *keys_json_value(const struct keys *keys, enum tlog_key key)
{
    char text[32];

    tlog_key_format(key, keys->values[key], text);
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        return json_boolean(text[0] == 't');
    if (text[0] == '-' || (text[0] >= '0' && text[0] <= '9'))
        return json_integer(keys->values[key]);
    return json_string(text);
}

json_t *keys_json(const struct keys *keys)
{
    json_t *object = json_object();

    for (enum tlog_key key = 0; key < TLOG_KEYS; key++)
        json_object_set_new(object, tlog_key_name(key), keys_json_value(keys, key));
    return object;
}
