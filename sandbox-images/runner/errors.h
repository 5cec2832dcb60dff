#ifndef CAISSON_ERRORS_H
#define CAISSON_ERRORS_H
/* "ENOENT", or "E123" for one without a name here. */
const char *error_name(int error);
#endif
