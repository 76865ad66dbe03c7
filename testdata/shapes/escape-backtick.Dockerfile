# escape=`
FROM alpine
COPY scripts\ c:\app\
RUN echo one && `
    echo two
WORKDIR /app
CMD ["sh", "-c", "echo ok"]
