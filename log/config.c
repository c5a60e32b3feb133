#include "log/config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/error.h"

#define KIB    INT64_C(1024)
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)
#define TIB    (1024 * GIB)
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define MAX_MS (INT64_MAX / 1000000) /* so that nanoseconds fit too */

enum kind { COUNT, SIZE, TIME, CHOICE };

struct key {
    const char *name;
    enum kind kind;
    bool unlimited; /* -1 is allowed */
    int64_t least, most, value;
    const char *const *words; /* of a CHOICE; NULL ends them */
};

static const char *const booleans[] = {"false", "true", NULL};
static const char *const formats[] = {[TLOG_FORMAT_LINES] = "lines", [TLOG_FORMAT_RAW] = "raw", NULL};
static const char *const truncates[] = {[TLOG_TRUNCATE_APPEND] = "append", [TLOG_TRUNCATE_REFUSE] = "refuse", NULL};

static const char *const cleanups[] = {"delete", NULL};
static const char *const compressions[] = {[TLOG_COMPRESSION_ZSTD] = "zstd", [TLOG_COMPRESSION_NONE] = "none", NULL};

static const struct key keys[TLOG_KEYS] = {
    [TLOG_PARTITIONS] = {"partitions", COUNT, false, 1, 100000, 1, NULL},
    [TLOG_PARTITIONS_MAX] = {"partitions.max", COUNT, false, 1, 100000, 1024, NULL},
    [TLOG_SEGMENT_BYTES] = {"segment.bytes", SIZE, false, KIB, TIB, 256 * MIB, NULL},
    [TLOG_SEGMENT_MS] = {"segment.ms", TIME, true, SECOND, MAX_MS, 7 * DAY, NULL},
    [TLOG_MAX_MESSAGE_BYTES] = {"max.message.bytes", SIZE, false, 1, 256 * MIB, MIB, NULL},
    [TLOG_MESSAGE_FORMAT] = {"message.format", CHOICE, false, 0, 0, TLOG_FORMAT_LINES, formats},
    [TLOG_FLUSH_MS] = {"flush.ms", TIME, false, 100, MAX_MS, 5 * SECOND, NULL},
    [TLOG_FLUSH_BYTES] = {"flush.bytes", SIZE, false, 64 * KIB, INT64_MAX, 64 * MIB, NULL},
    [TLOG_QUOTA_BYTES] = {"quota.bytes", SIZE, true, 0, INT64_MAX, -1, NULL},
    [TLOG_OPEN_TRUNCATE] = {"open.truncate", CHOICE, false, 0, 0, TLOG_TRUNCATE_APPEND, truncates},
    [TLOG_DELETE_ENABLE] = {"delete.enable", CHOICE, false, 0, 0, 0, booleans},
    [TLOG_RETENTION_MS] = {"retention.ms", TIME, true, SECOND, MAX_MS, -1, NULL},
    [TLOG_RETENTION_BYTES] = {"retention.bytes", SIZE, true, 0, INT64_MAX, -1, NULL},
    [TLOG_CLEANUP_POLICY] = {"cleanup.policy", CHOICE, false, 0, 0, 0, cleanups},
    [TLOG_COMPRESSION_TYPE] = {"compression.type", CHOICE, false, 0, 0, TLOG_COMPRESSION_ZSTD, compressions},
    [TLOG_COMPRESSION_LEVEL] = {"compression.level", COUNT, false, 1, 19, 1, NULL},
    [TLOG_SEAL_LINGER_MS] = {"seal.linger.ms", TIME, false, 0, MAX_MS, HOUR, NULL},
    [TLOG_PIN_BYTES] = {"pin.bytes", SIZE, false, 0, INT64_MAX, GIB, NULL},
    [TLOG_PIN_MS] = {"pin.ms", TIME, false, 0, MAX_MS, HOUR, NULL},
    [TLOG_TRASH_MS] = {"trash.retention.ms", TIME, true, 0, MAX_MS, DAY, NULL},
    [TLOG_QUOTA_RATE] = {"quota.bytes.per.second", SIZE, true, 1, INT64_MAX, -1, NULL},
};

struct unit {
    const char *name;
    int64_t factor;
};

/* Largest first, as tlog_key_format takes the first that divides; short forms and weeks are read, not written. */
static const struct unit size_units[] = {
    {"TiB", TIB}, {"GiB", GIB}, {"MiB", MIB}, {"KiB", KIB}, {"", 1},   {"B", 1},
    {"T", TIB},   {"G", GIB},   {"M", MIB},   {"K", KIB},   {NULL, 0},
};
static const struct unit time_units[] = {
    {"d", DAY}, {"h", HOUR}, {"m", MINUTE}, {"s", SECOND}, {"ms", 1}, {"", 1}, {"w", 7 * DAY}, {NULL, 0},
};
static const struct unit count_units[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum kind kind)
{
    return kind == SIZE ? size_units : kind == TIME ? time_units : count_units;
}

static const char *unit_names(enum kind kind)
{
    return kind == SIZE ? "B, KiB, MiB, GiB, TiB" : kind == TIME ? "ms, s, m, h, d, w" : "none here";
}

const char *tlog_key_name(enum tlog_key key)
{
    return (unsigned)key < TLOG_KEYS ? keys[key].name : NULL;
}

int64_t tlog_key_default(enum tlog_key key)
{
    return keys[key].value;
}

char *tlog_key_format(enum tlog_key key, int64_t value, char to[32])
{
    const struct key *k = &keys[key];

    if (k->kind == CHOICE) {
        snprintf(to, 32, "%s", k->words[value]);
        return to;
    }
    const struct unit *unit = units_of(k->kind);
    while (unit->factor > 1 && (value <= 0 || value % unit->factor != 0))
        unit++;
    if (value <= 0)
        snprintf(to, 32, "%" PRId64, value);
    else
        snprintf(to, 32, "%" PRId64 "%s", value / unit->factor, unit->name);
    return to;
}

/* ---- slices of the text ----------------------------------------------------------------------------- */

struct slice {
    const char *at;
    size_t length;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct slice trim(struct slice s)
{
    while (s.length > 0 && is_blank(s.at[0])) {
        s.at++;
        s.length--;
    }
    while (s.length > 0 && is_blank(s.at[s.length - 1]))
        s.length--;
    return s;
}

/* Takes the next line, without its newline, off the front of `rest`. */
static bool next_line(struct slice *rest, struct slice *line)
{
    if (rest->length == 0)
        return false;
    const char *newline = memchr(rest->at, '\n', rest->length);
    size_t taken = newline ? (size_t)(newline - rest->at) + 1 : rest->length;
    *line = (struct slice){rest->at, newline ? taken - 1 : taken};
    rest->at += taken;
    rest->length -= taken;
    return true;
}

static bool equals(struct slice s, const char *word)
{
    return strlen(word) == s.length && memcmp(s.at, word, s.length) == 0;
}

/* The slice as a message may show it: short, and without what moves a terminal's cursor. */
struct shown {
    char text[68];
};

static struct shown show(struct slice s)
{
    struct shown shown;
    size_t length = s.length < 64 ? s.length : 64;

    for (size_t i = 0; i < length; i++)
        shown.text[i] = (unsigned char)s.at[i] < 0x20 || s.at[i] == 0x7f ? '?' : s.at[i];
    memcpy(shown.text + length, s.length > 64 ? "..." : "", s.length > 64 ? 4 : 1);
    return shown;
}

/* ---- parsing ---------------------------------------------------------------------------------------- */

static int parse_choice(const struct key *key, struct slice text, int64_t *value, struct tlog_error *error)
{
    char words[64] = "";

    for (int i = 0; key->words[i]; i++) {
        if (equals(text, key->words[i])) {
            *value = i;
            return 0;
        }
        size_t used = strlen(words);
        snprintf(words + used, sizeof(words) - used, "%s%s", i > 0 ? ", " : "", key->words[i]);
    }
    tlog_error_set(error, "%s: not one of %s", show(text).text, words);
    return -EINVAL;
}

static int out_of_range(enum tlog_key key, struct slice text, struct tlog_error *error)
{
    const struct key *k = &keys[key];
    char least[32], most[32];

    if (k->most >= MAX_MS && k->kind != COUNT)
        tlog_error_set(error, "%s: out of range (at least %s%s)", show(text).text,
                       tlog_key_format(key, k->least, least), k->unlimited ? ", or -1" : "");
    else
        tlog_error_set(error, "%s: out of range (%s to %s%s)", show(text).text, tlog_key_format(key, k->least, least),
                       tlog_key_format(key, k->most, most), k->unlimited ? ", or -1" : "");
    return -EINVAL;
}

static int parse_number(enum tlog_key key, struct slice text, int64_t *value, struct tlog_error *error)
{
    const struct key *k = &keys[key];
    const struct unit *unit = units_of(k->kind);
    uint64_t number = 0;
    size_t i = 0;

    if (equals(text, "-1") && k->unlimited) {
        *value = -1;
        return 0;
    }
    if (text.length > 1 && text.at[0] == '-' && text.at[1] >= '0' && text.at[1] <= '9')
        return out_of_range(key, text, error);
    bool overflow = false;
    for (; i < text.length && text.at[i] >= '0' && text.at[i] <= '9'; i++)
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, text.at[i] - '0', &number))
            overflow = true;
    if (i == 0) {
        tlog_error_set(error, "%s: not a number", show(text).text);
        return -EINVAL;
    }
    struct slice rest = trim((struct slice){text.at + i, text.length - i});
    while (unit->name && !equals(rest, unit->name))
        unit++;
    if (!unit->name) {
        tlog_error_set(error, "%s: unknown unit (%s)", show(text).text, unit_names(k->kind));
        return -EINVAL;
    }
    if (overflow || __builtin_mul_overflow(number, unit->factor, value) || *value < k->least || *value > k->most)
        return out_of_range(key, text, error);
    return 0;
}

static enum tlog_key find_key(struct slice name)
{
    enum tlog_key key = 0;

    while (key < TLOG_KEYS && !equals(name, keys[key].name))
        key++;
    return key;
}

/* The key and value of a line; `*key` is TLOG_KEYS for a comment or a blank line. */
static int parse_line(struct slice line, enum tlog_key *key, int64_t *value, struct tlog_error *error)
{
    int result;

    *key = TLOG_KEYS;
    line = trim(line);
    if (memchr(line.at, '\0', line.length)) {
        tlog_error_set(error, "a NUL byte");
        return -EINVAL;
    }
    if (line.length == 0 || line.at[0] == '#')
        return 0;
    const char *equal = memchr(line.at, '=', line.length);
    if (!equal) {
        tlog_error_set(error, "%s: not key=value", show(line).text);
        return -EINVAL;
    }
    size_t before = (size_t)(equal - line.at);
    struct slice name = trim((struct slice){line.at, before});
    struct slice text = trim((struct slice){equal + 1, line.length - before - 1});
    *key = find_key(name);
    if (*key == TLOG_KEYS) {
        tlog_error_set(error, "%s: unknown key", show(name).text);
        return -EINVAL;
    }
    if (text.length == 0) {
        tlog_error_set(error, "%s: no value", keys[*key].name);
        return -EINVAL;
    }
    if (*key == TLOG_CLEANUP_POLICY && equals(text, "compact")) {
        tlog_error_set(error, "compact: logs are not compacted yet, only deleted from their head");
        result = -EINVAL;
    } else if (keys[*key].kind == CHOICE) {
        result = parse_choice(&keys[*key], text, value, error);
    } else {
        result = parse_number(*key, text, value, error);
    }
    if (result < 0)
        tlog_error_prefix(error, "%s", keys[*key].name);
    return result;
}

int tlog_config_parse(const char *text, size_t length, struct tlog_config *into, struct tlog_error *error)
{
    struct tlog_config parsed = *into;
    struct slice rest = {text, length}, line;

    for (unsigned number = 1; next_line(&rest, &line); number++) {
        enum tlog_key key;
        int64_t value = 0;
        int result = parse_line(line, &key, &value, error);
        if (result < 0) {
            tlog_error_prefix(error, "line %u", number);
            return result;
        }
        if (key != TLOG_KEYS) {
            parsed.values[key] = value;
            parsed.set |= UINT32_C(1) << key;
        }
    }
    *into = parsed;
    return 0;
}

int tlog_config_check(const char *text, struct tlog_error *error)
{
    struct tlog_config ignored = {.set = 0};

    return tlog_config_parse(text, strlen(text), &ignored, error);
}

int tlog_config_value(const char *text, enum tlog_key key, int64_t *value)
{
    struct tlog_config config = {.set = 0};
    int result = tlog_config_parse(text, strlen(text), &config, NULL);

    if (result < 0 || !tlog_config_has(&config, key))
        return result;
    *value = config.values[key];
    return 1;
}

/* ---- changing in place ------------------------------------------------------------------------------ */

/* The key that a line sets, whatever its value; TLOG_KEYS for any other line. */
static enum tlog_key line_key(struct slice line)
{
    const char *equal = memchr(line.at, '=', line.length);

    return equal ? find_key(trim((struct slice){line.at, (size_t)(equal - line.at)})) : TLOG_KEYS;
}

static char *add_line(char *to, struct slice line)
{
    assert(line.at);
    memcpy(to, line.at, line.length);
    to[line.length] = '\n';
    return to + line.length + 1;
}

int tlog_config_merge(const char *old_text, const char *new_text, char **out, struct tlog_error *error)
{
    struct slice changed[TLOG_KEYS] = {{NULL, 0}}; /* the line each key gets */
    struct slice last[TLOG_KEYS] = {{NULL, 0}};    /* the line of old_text that is in force */
    struct slice rest, line;
    enum tlog_key key;
    int result = tlog_config_check(new_text, error);

    if (result < 0)
        return result;
    char *merged = malloc(strlen(old_text) + strlen(new_text) + 3);
    if (!merged)
        return -ENOMEM;
    for (rest = (struct slice){new_text, strlen(new_text)}; next_line(&rest, &line);)
        if ((key = line_key(line)) != TLOG_KEYS)
            changed[key] = trim(line);
    for (rest = (struct slice){old_text, strlen(old_text)}; next_line(&rest, &line);)
        if ((key = line_key(line)) != TLOG_KEYS)
            last[key] = line;

    char *to = merged;
    for (rest = (struct slice){old_text, strlen(old_text)}; next_line(&rest, &line);) {
        key = line_key(line);
        bool replaced = key != TLOG_KEYS && changed[key].at && last[key].at == line.at;
        to = add_line(to, replaced ? changed[key] : line);
    }
    for (rest = (struct slice){new_text, strlen(new_text)}; next_line(&rest, &line);) {
        key = line_key(line);
        line = trim(line);
        if (line.length > 0 && (key == TLOG_KEYS || (!last[key].at && changed[key].at == line.at)))
            to = add_line(to, line);
    }
    *to = '\0';
    *out = merged;
    return 0;
}
