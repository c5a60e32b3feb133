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
    if (seconds < 0 || seconds > INT64_MAX / SECOND_NS || gmtime_r(&seconds, &fields) == NULL)
        return false;
    *time_ns = seconds * SECOND_NS;
    if (strftime(again, sizeof again, "%Y-%m-%dT%H:%M:%SZ", &fields) == 0)
        return false;
    if (strchr(text, 'T') == NULL)
        again[strcspn(again, "T")] = '\0';
    return strcmp(again, text) == 0;
}

bool tfs_when_parse(const char *text, int64_t now_ns, int64_t *time_ns, bool *relative)
{
    *relative = text[0] == '-';
    if (*relative)
        return parse_ago(text + 1, now_ns, time_ns);
    return parse_calendar(text, "%Y-%m-%d", time_ns) || parse_calendar(text, "%Y-%m-%dT%H:%M:%SZ", time_ns);
}
