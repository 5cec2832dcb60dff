# Node.js from the npm package that carries its binaries (context.json pins it), so that no other download
# is needed. From 22.21 on Node obeys the proxy variables itself, which is the only way out of a sandbox.
FROM caisson/base AS unpack
LABEL caisson.stage=node
USER root
ADD packages/node.tgz /unpack/node/
ADD packages/npm.tgz /unpack/npm/
RUN mkdir -p /out/bin /out/lib/node_modules /out/include /out/etc \
 && mv /unpack/node/package/bin/node /out/bin/node \
 && mv /unpack/node/package/include/node /out/include/node \
 && mv /unpack/npm/package /out/lib/node_modules/npm \
 && ln -s ../lib/node_modules/npm/bin/npm-cli.js /out/bin/npm \
 && ln -s ../lib/node_modules/npm/bin/npx-cli.js /out/bin/npx \
 && chmod 0755 /out/lib/node_modules/npm/bin/np*-cli.js \
 && printf 'update-notifier=false\nfund=false\naudit=false\n' > /out/etc/npmrc \
 && chown -R root:root /out

FROM caisson/base
USER root
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libstdc++6 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
COPY --from=unpack /out/ /usr/local/
ENV NODE_USE_ENV_PROXY=1
USER 10001:10001
