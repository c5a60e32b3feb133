#include "when.h"

#include <stddef.h>
#include <string.h>
#include <time.h>

#define SECOND_NS INT64_C(1000000000)

static bool parse_ago(const char *text, int64_t now_ns, int64_t *time_ns)
{
    static const struct {
        const char *unit;
        int64_t seconds;
    } units[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 7 * 86400}};
    enum { MAX_DIGITS = 9 };
    size_t digits = strspn(text, "0123456789");
    int64_t count = 0;

    if (digits == 0 || digits > MAX_DIGITS)
        return false;
    for (size_t i = 0; i < digits; i++)
        count = count * 10 + (text[i] - '0');
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(text + digits, units[i].unit) == 0) {
            int64_t seconds = count * units[i].seconds;
            *time_ns = seconds < now_ns / SECOND_NS ? now_ns - seconds * SECOND_NS : 0;
            return true;
        }
    return false;
}

/* Formatted again it must be the same text: no 31st of February, no blanks, no missing zeros. */
static bool parse_calendar(const char *text, const char *format, int64_t *time_ns)
{
    struct tm fields = {.tm_mday = 1};
    char again[40];

    const char *end = strptime(text, format, &fields);
    if (end == NULL || *end != '\0')
        return false;
    time_t seconds = timegm(&fields);
    if (seconds < 0 || seconds > INT64_MAX / SECOND_NS - 1 || gmtime_r(&seconds, &fields) == NULL)
        return false;
    *time_ns = seconds * SECOND_NS;
    if (strftime(again, sizeof again, "%Y-%m-%dT%H:%M:%S", &fields) == 0)
        return false;
    if (strchr(text, 'T') == NULL)
        again[strcspn(again, "T")] = '\0';
    return strcmp(again, text) == 0;
}

/* What stands between the seconds and the Z: nothing, or a point and up to nine digits. */
static bool parse_fraction(const char *text, int64_t *ns)
{
    enum { MAX_DIGITS = 9 };
    size_t digits = text[0] == '.' ? strspn(text + 1, "0123456789") : 0;
    int64_t unit = SECOND_NS;

    *ns = 0;
    for (size_t i = 1; i <= digits && i <= MAX_DIGITS; i++)
        *ns += (unit /= 10) * (text[i] - '0');
    return strcmp(text, "Z") == 0 || (digits > 0 && digits <= MAX_DIGITS && strcmp(text + 1 + digits, "Z") == 0);
}

static bool parse_moment(const char *text, int64_t *time_ns)
{
    enum { SECONDS_END = sizeof "2026-11-22T10:00:00" - 1 };
    char seconds[SECONDS_END + 1] = "";
    int64_t ns;

    strncat(seconds, text, SECONDS_END);
    if (strlen(seconds) < SECONDS_END || !parse_fraction(text + SECONDS_END, &ns) ||
        !parse_calendar(seconds, "%Y-%m-%dT%H:%M:%S", time_ns))
        return false;
    *time_ns += ns;
    return true;
}

bool tfs_when_parse(const char *text, int64_t now_ns, int64_t *time_ns, bool *relative)
{
    *relative = text[0] == '-';
    if (*relative)
        return parse_ago(text + 1, now_ns, time_ns);
    return parse_calendar(text, "%Y-%m-%d", time_ns) || parse_moment(text, time_ns);
}
