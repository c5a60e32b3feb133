#include "tools/selector.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/ctl.h"

#define SECOND_NS INT64_C(1000000000)

/* -15m: the number's unit in nanoseconds, 0 when it has none, -1 when it is no unit. */
static int64_t unit_ns(const char *unit)
{
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {
        {"", 0},
        {"ms", SECOND_NS / 1000},
        {"s", SECOND_NS},
        {"m", 60 * SECOND_NS},
        {"h", 3600 * SECOND_NS},
        {"d", 86400 * SECOND_NS},
        {"w", 7 * 86400 * SECOND_NS},
    };

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(unit, units[i].name) == 0)
            return units[i].ns;
    return -1;
}

static bool parse_back(const char *text, int64_t now_ns, struct selector *out)
{
    char digits[24];
    uint64_t number;
    size_t length = strspn(text, "0123456789");

    if (length == 0 || length >= sizeof(digits))
        return false;
    memcpy(digits, text, length);
    digits[length] = '\0';
    if (!ctl_number_parse(digits, INT64_MAX, &number))
        return false;
    int64_t unit = unit_ns(text + length), back;
    if (unit < 0)
        return false;
    if (unit == 0) {
        *out = (struct selector){SELECT_LAST, (int64_t)number};
        return true;
    }
    if (__builtin_mul_overflow((int64_t)number, unit, &back) || back > now_ns)
        back = now_ns;
    *out = (struct selector){SELECT_TIME, now_ns - back};
    return true;
}

/* Exactly two digits; -1 otherwise. */
static int two_digits(const char *at)
{
    if (at[0] < '0' || at[0] > '9' || at[1] < '0' || at[1] > '9')
        return -1;
    return 10 * (at[0] - '0') + (at[1] - '0');
}

/* Z, +HH:MM, -HH:MM or nothing (UTC): seconds east. */
static bool parse_zone(const char *text, int64_t *seconds)
{
    *seconds = 0;
    if (*text == '\0' || strcmp(text, "Z") == 0)
        return true;
    if (strlen(text) != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':')
        return false;
    int hours = two_digits(text + 1), minutes = two_digits(text + 4);
    *seconds = (text[0] == '-' ? -60 : 60) * (60 * hours + minutes);
    return hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60;
}

static bool parse_fraction(const char **text, int64_t *ns)
{
    int64_t unit = SECOND_NS;

    *ns = 0;
    if (**text != '.')
        return true;
    const char *first = ++*text;
    for (; **text >= '0' && **text <= '9'; ++*text)
        *ns += (unit /= 10) * (**text - '0');
    return *text > first;
}

/* YYYY-MM-DD[THH:MM:SS[.FRACTION][ZONE]] */
static bool parse_timestamp(const char *text, int64_t *time_ns)
{
    struct tm fields = {.tm_mday = 0}, same;
    int64_t ns = 0, east = 0;
    int century, year;

    if (strlen(text) < 10 || (century = two_digits(text)) < 0 || (year = two_digits(text + 2)) < 0 || text[4] != '-' ||
        (fields.tm_mon = two_digits(text + 5) - 1) < 0 || text[7] != '-' || (fields.tm_mday = two_digits(text + 8)) < 1)
        return false;
    fields.tm_year = 100 * century + year - 1900;
    if (text[10] != '\0') {
        if (strlen(text) < 19 || text[10] != 'T' || (fields.tm_hour = two_digits(text + 11)) < 0 || text[13] != ':' ||
            (fields.tm_min = two_digits(text + 14)) < 0 || text[16] != ':' ||
            (fields.tm_sec = two_digits(text + 17)) < 0)
            return false;
        const char *rest = text + 19;
        if (!parse_fraction(&rest, &ns) || !parse_zone(rest, &east))
            return false;
    }
    same = fields;
    int64_t seconds = timegm(&same);
    if (same.tm_mon != fields.tm_mon || same.tm_mday != fields.tm_mday || same.tm_hour != fields.tm_hour ||
        same.tm_min != fields.tm_min || same.tm_sec != fields.tm_sec)
        return false; /* the 31st of February, 25 o'clock */
    return !__builtin_mul_overflow(seconds - east, SECOND_NS, time_ns) &&
           !__builtin_add_overflow(*time_ns, ns, time_ns);
}

bool selector_parse(const char *text, int64_t now_ns, struct selector *out)
{
    uint64_t number;

    *out = (struct selector){SELECT_START, 0};
    if (strcmp(text, "start") == 0)
        return true;
    if (strcmp(text, "end") == 0) {
        out->kind = SELECT_END;
        return true;
    }
    if ((text[0] == 'r' || text[0] == 'b') && ctl_number_parse(text + 1, INT64_MAX, &number)) {
        *out = (struct selector){text[0] == 'r' ? SELECT_SEQ : SELECT_POS, (int64_t)number};
        return true;
    }
    if (text[0] == '-')
        return parse_back(text + 1, now_ns, out);
    out->kind = SELECT_TIME;
    return parse_timestamp(text, &out->value);
}

int selector_find(const struct selector *selector, struct ctl_partition *partition, uint64_t *pos, uint64_t *seq)
{
    const struct ctl_backend *backend = partition->store->backend;
    uint64_t start, committed;
    int result = backend->extent(partition, &start, &committed);

    if (result < 0)
        return result;
    switch (selector->kind) {
    case SELECT_START:
        return backend->find(partition, TFS_FIND_POS, (int64_t)start, pos, seq);
    case SELECT_END:
        return backend->find(partition, TFS_FIND_POS, (int64_t)committed, pos, seq);
    case SELECT_SEQ:
        return backend->find(partition, TFS_FIND_SEQ, selector->value, pos, seq);
    case SELECT_POS:
        return backend->find(partition, TFS_FIND_POS, selector->value, pos, seq);
    case SELECT_TIME:
        return backend->find(partition, TFS_FIND_TIME, selector->value, pos, seq);
    case SELECT_LAST:
        break;
    }
    if ((result = backend->find(partition, TFS_FIND_POS, (int64_t)committed, pos, seq)) < 0)
        return result;
    uint64_t back = (uint64_t)selector->value < *seq ? (uint64_t)selector->value : *seq;
    return back == 0 ? 0 : backend->find(partition, TFS_FIND_SEQ, (int64_t)(*seq - back), pos, seq);
}

char *time_format(int64_t time_ns, char to[40])
{
    time_t seconds = time_ns / SECOND_NS;
    struct tm fields;
    char text[24];

    gmtime_r(&seconds, &fields);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &fields);
    snprintf(to, 40, "%s.%03dZ", text, (int)(time_ns % SECOND_NS / 1000000));
    return to;
}
