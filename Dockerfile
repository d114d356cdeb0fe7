# A server in a container: `docker build -t tributary .`
#
# Packages are fetched where npm is; what runs is the Node.js that package-lock.json pins, not the one of the first stage.
FROM node:24-bookworm-slim AS packages
WORKDIR /opt/tributary
COPY package.json package-lock.json ./
# No package needs its install script: native ones bring what was compiled, for many platforms, of which one is kept.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
  && find node_modules -type d -path '*/prebuilds/*' -prune ! -name 'linux-*' -exec rm -rf {} + \
  && rm -rf node_modules/node-linux-*/include

FROM debian:bookworm-slim
# One of the bindings of RocksDB, the only one on arm64, needs libatomic.
RUN apt-get update \
  && apt-get install --yes --no-install-recommends libatomic1 \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin tributary \
  && install --directory --owner=10001 --group=10001 /var/lib/tributary
WORKDIR /opt/tributary
COPY --from=packages /opt/tributary/node_modules node_modules
COPY package.json LICENSE ./
COPY src src
# Beyond loopback the server wants keys: without TRIBUTARY_KEYS, or a file that TRIBUTARY_CONFIG names, it says so and ends.
ENV TRIBUTARY_HOST=0.0.0.0 TRIBUTARY_DATA_DIR=/var/lib/tributary
USER 10001:10001
VOLUME /var/lib/tributary
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["/opt/tributary/node_modules/.bin/node", "-e", "fetch(`http://127.0.0.1:${process.env.TRIBUTARY_PORT ?? 8080}/healthz`).then(({ ok }) => process.exit(ok ? 0 : 1))"]
# Node.js itself, so that signals reach it.
ENTRYPOINT ["/opt/tributary/node_modules/.bin/node", "/opt/tributary/src/main.ts"]
CMD ["start"]
