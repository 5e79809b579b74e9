# One image for every process of the suite: nodes of both tiers, relay, init. Non-root; the root file system may be read-only.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS build
COPY requirements.lock /build/requirements.lock
RUN python3 -m venv /opt/tongjian \
 && /opt/tongjian/bin/python -m pip install --no-cache-dir --disable-pip-version-check --quiet \
      --require-hashes --only-binary :all: -r /build/requirements.lock
COPY pyproject.toml README.md /build/
COPY cli /opt/tongjian/suite/cli
COPY common /opt/tongjian/suite/common
COPY business_chain /opt/tongjian/suite/business_chain
COPY custody_chain /opt/tongjian/suite/custody_chain
COPY crosslink /opt/tongjian/suite/crosslink
RUN echo /opt/tongjian/suite > "$(/opt/tongjian/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/tongjian.pth" \
 && printf '#!/bin/sh\nexec /opt/tongjian/bin/python -P -m cli.main "$@"\n' > /opt/tongjian/bin/tongjian \
 && chmod +x /opt/tongjian/bin/tongjian \
 && /opt/tongjian/bin/python -m compileall -q /opt/tongjian

FROM ${BASE}
RUN groupadd --system --gid 10001 tongjian \
 && useradd --system --uid 10001 --gid tongjian --home-dir /var/lib/tongjian --shell /usr/sbin/nologin tongjian \
 && install -d -o tongjian -g tongjian -m 0700 /var/lib/tongjian \
 && install -d -o tongjian -g tongjian -m 0750 /etc/tongjian
COPY --from=build /opt/tongjian /opt/tongjian
ENV PATH=/opt/tongjian/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER tongjian
WORKDIR /var/lib/tongjian
STOPSIGNAL SIGTERM
ENTRYPOINT ["tongjian"]
CMD ["--help"]
