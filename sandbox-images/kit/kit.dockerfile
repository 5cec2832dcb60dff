# The static programs put into every sandbox under /.caisson, so that any Linux image works, even one
# without a shell.
FROM caisson/builder AS build
LABEL caisson.stage=kit
COPY runner /src
RUN make -C /src OUT=/out
RUN mkdir -p /kit/.caisson \
 && install -m 0755 /out/runner /kit/.caisson/runner \
 && install -m 0755 /bin/bash-static /kit/.caisson/bash \
 && install -m 0755 /bin/busybox /kit/.caisson/busybox \
 && chmod 0755 /kit /kit/.caisson

FROM scratch
COPY --from=build /kit/ /
