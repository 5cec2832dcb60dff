#include "errors.h"

#include <errno.h>
#include <stdio.h>

#define NAME(error) case error: return #error;

const char *error_name(int error) {
  static char number[16];
  switch (error) {
    NAME(E2BIG) NAME(EACCES) NAME(EAGAIN) NAME(EBADF) NAME(EBUSY) NAME(EDQUOT) NAME(EEXIST) NAME(EFBIG)
    NAME(EINVAL) NAME(EIO) NAME(EISDIR) NAME(ELIBBAD) NAME(ELOOP) NAME(EMFILE) NAME(ENAMETOOLONG) NAME(ENFILE)
    NAME(ENODEV) NAME(ENOENT) NAME(ENOEXEC) NAME(ENOMEM) NAME(ENOSPC) NAME(ENOSYS) NAME(ENOTDIR) NAME(ENXIO)
    NAME(EPERM) NAME(EPIPE) NAME(EROFS) NAME(ETXTBSY) NAME(EXDEV) NAME(ENOTEMPTY) NAME(EOVERFLOW)
  }
  snprintf(number, sizeof number, "E%d", error);
  return number;
}
