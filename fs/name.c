#include "name.h"

#include <stddef.h>
#include <string.h>

enum tfs_name tfs_name_parse(const char *name, unsigned *number)
{
    enum { MAX_DIGITS = 9 };
    size_t digits = strspn(name, "0123456789");
    unsigned value = 0;

    if (digits == 0 || digits > MAX_DIGITS || (name[0] == '0' && digits > 1))
        return TFS_NAME_OTHER;
    for (size_t i = 0; i < digits; i++)
        value = value * 10 + (unsigned)(name[i] - '0');
    bool door = strcmp(name + digits, "@append") == 0;
    if (!door && name[digits] != '\0')
        return TFS_NAME_OTHER;
    *number = value;
    return door ? TFS_NAME_DOOR : TFS_NAME_PARTITION;
}
